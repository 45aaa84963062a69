"""Damage images, and count those that are read with other pixels without a word.

What a decoder makes of each damaged file is asked in another process, by another way than the
product's own where there is one (OpenCV for PNG and JPEG): whatever it writes to standard error is
a complaint, and so are its errors and its end.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.classification.report.tables import ResultTable, TableRow, Value, to_text
from cxrloc.datasets.files.runs.workers import worker_pool
from cxrloc.datasets.images.read import UnreadableImageError, decode_image, read_grey
from cxrloc.tools.experiments.benchmarks.fuzz.image_targets import (
    SYNTAXES,
    dicom_bytes,
    encoded,
    in_dicom,
    transcoded,
)
from cxrloc.tools.experiments.benchmarks.fuzz.mutations import damaged

REFUSED, SAME, WARNED = "refused", "same pixels", "other pixels, warned"
UNSEEN, UNSAID = "other pixels, no decoder complains", "other pixels, a decoder complains"
OUTCOMES = (REFUSED, SAME, WARNED, UNSEEN, UNSAID)
FAR = 40  # grey levels
_FAR_OFF = f"of these unseen, {FAR} grey levels off"

Grey = npt.NDArray[np.uint8]


@dataclass
class Damage:
    """What came of it.

    Attributes:
        counts: kind of file -> outcome -> how often.
        unsaid: a line for each image that was read although its decoder complained.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    unsaid: list[str] = field(default_factory=list)

    def table(self) -> str:
        """A row for each kind, and one for all."""
        counts = self.counts | {"all": sum(self.counts.values(), Counter())}
        rows = []
        for kind, count in counts.items():
            cells: dict[str, Value] = {name: count[name] for name in (*OUTCOMES, _FAR_OFF)}
            files = sum(count[name] for name in OUTCOMES)
            rows.append(TableRow("", {"file": kind, "damaged": files}, cells))
        return to_text(ResultTable("damage", "Damaged images", tuple(rows), ()))


def damage_table(paths: Sequence[Path], size: int, count: int, seed: int) -> int:
    """Print what came of damaged copies; 1 if one was read although its decoder complained."""
    result = damage(image_kinds(paths, size), count, seed)
    print("\n".join([result.table(), *result.unsaid]))
    return int(bool(result.unsaid))


def image_kinds(paths: Sequence[Path], size: int) -> dict[str, list[bytes]]:
    """Kind -> the images as files of that kind, of `size` pixels a side."""
    greys = [np.asarray(cv2.resize(read_grey(p), (size, size)), dtype=np.uint8) for p in paths]
    kinds: dict[str, list[bytes]] = {
        "PNG": [encoded(".png", grey) for grey in greys],
        "JPEG": [encoded(".jpg", grey) for grey in greys],
        "JPEG, progressive": [encoded(".jpg", g, cv2.IMWRITE_JPEG_PROGRESSIVE, 1) for g in greys],
        "DICOM": [dicom_bytes(grey, 8) for grey in greys],
        "DICOM, JPEG": [in_dicom(encoded(".jpg", grey), grey) for grey in greys],
    }
    for name in SYNTAXES:
        kinds[f"DICOM, {name}"] = [transcoded(dicom_bytes(grey, 8), name) for grey in greys]
    return kinds


def damage(kinds: Mapping[str, Sequence[bytes]], count: int, seed: int = 0) -> Damage:
    """Read `count` damaged files, of each kind as many."""
    result = Damage()
    with _Decoders() as decoders:
        for number, kind in zip(range(count), itertools.cycle(kinds), strict=False):
            rng = random.Random(f"{seed} {number} {kind}")
            whole = rng.choice(kinds[kind])
            changed = damaged(whole, rng)
            outcome, difference, said = _outcome(whole, changed, decoders)
            of_kind = result.counts.setdefault(kind, Counter())
            of_kind[outcome] += 1
            of_kind[_FAR_OFF] += outcome == UNSEEN and difference > FAR
            if outcome == UNSAID:
                result.unsaid.append(f"{kind}, {number}: off by {difference:g}: {said[:200]}")
    return result


def _outcome(whole: bytes, changed: bytes, decoders: _Decoders) -> tuple[str, float, str]:
    """The outcome, the largest difference of a pixel, and what a decoder said."""
    before = decode_image(whole, Path("whole"))
    try:
        after = decode_image(changed, Path("changed"))
    except UnreadableImageError:
        return REFUSED, 0.0, ""
    difference = _difference(before.pixels, after.pixels)
    if not difference:
        return SAME, 0.0, ""
    if set(after.warnings) - set(before.warnings):
        return WARNED, difference, ""
    said = decoders.complaint(changed)
    return (UNSAID if said else UNSEEN), difference, said


def _difference(before: Grey, after: Grey) -> float:
    if before.shape != after.shape:
        return 255.0
    return float(np.abs(before.astype(np.int16) - after).max())


class _Decoders:
    """A process that decodes; another one follows if it dies."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> _Decoders:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def complaint(self, data: bytes) -> str:
        """What a decoder says of a file; empty if nothing."""
        if self._pool is None:
            self._pool = self._stack.enter_context(worker_pool(1))
        try:
            return self._pool.submit(_decode, data).result()
        except BrokenExecutor:
            self._pool = None
            return "the decoder crashed"


def _decode(data: bytes) -> str:
    """Decode a file with standard error caught."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            _decode_plainly(data)
        except Exception as error:  # every decoder raises its own types
            return f"{type(error).__name__}: {error}"
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        return file.read(10_000).decode(errors="replace").strip()


def _decode_plainly(data: bytes) -> None:
    from cxrloc.datasets.dicom.decoder import all_bits
    from cxrloc.datasets.dicom.header import is_dicom, parse_header

    if is_dicom(data):
        all_bits(parse_header(data))
    elif cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is None:
        raise ValueError("OpenCV decodes nothing")
