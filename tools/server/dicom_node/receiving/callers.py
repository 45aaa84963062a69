"""Who may send to a node: by AE title and address."""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cxrloc.datasets.files.addresses import LOOPBACK
from cxrloc.localization.dicom_output.c_store import checked_title

_LOG = logging.getLogger("cxrloc.node")
_NAMED = 5  # of those who were turned away; of a flood the others are only counted

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Caller:
    """A machine that may send: its AE title, and the addresses that it calls from."""

    title: str
    network: Network


def parse_caller(word: str) -> Caller:
    """Parse AET@ADDRESS, where the address may be a network such as 10.0.0.0/24.

    Raises:
        ValueError: for anything else.
    """
    title, _, address = word.rpartition("@")
    try:
        if not title:
            raise ValueError
        return Caller(checked_title(title), ipaddress.ip_network(address.strip("[]")))
    except ValueError:
        raise ValueError(
            f"{word!r}, expected AET@ADDRESS, such as XRAY1@10.0.0.7 or XRAY1@10.0.0.0/24"
        ) from None


@dataclass(frozen=True)
class Callers:
    """All who may send; without any, whoever calls from this machine."""

    known: Sequence[Caller] = ()

    def may_connect(self, address: str) -> bool:
        """Whether anybody at an address may send; asked before the caller says who it is."""
        return not self.known or any(_is_in(address, caller.network) for caller in self.known)

    def may_send(self, title: str, address: str) -> bool:
        """Whether a caller with this AE title may send from this address."""
        return not self.known or any(
            caller.title == title and _is_in(address, caller.network) for caller in self.known
        )


def _is_in(address: str, network: Network) -> bool:
    given = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(given, ipaddress.IPv6Address) and given.ipv4_mapped is not None:
        given = given.ipv4_mapped
    return given in network


class Strangers:
    """Those who were turned away, until it is told: many at once cost one line, not one each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()

    def add(self, who: str) -> None:
        """Note somebody."""
        with self._lock:
            self._seen[who] += 1

    def tell(self) -> int:
        """Log who came since the last time; returns how often, all together."""
        with self._lock:
            seen, self._seen = self._seen, Counter()
        for who, times in seen.most_common(_NAMED):
            often = f" ({times} times)" if times > 1 else ""
            _LOG.warning("turned away %s%s: no --from names it", who, often)
        if len(seen) > _NAMED:
            _LOG.warning("turned away %d others", len(seen) - _NAMED)
        return seen.total()


def check_callers(host: str, callers: Callers) -> None:
    """Raise ValueError for a host that others can reach if nobody says who may send."""
    if host not in LOOPBACK and not callers.known:
        raise ValueError(
            f"--host {host} can be reached from other machines: name those that may send with "
            "--from AET@ADDRESS, or leave --host out to listen to this machine only"
        )
