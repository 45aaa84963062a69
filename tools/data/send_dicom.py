r"""Send DICOM files to an archive or a viewer by C-STORE.

    cxrloc send-dicom HOST PORT FILE... --called ARCHIVE
    cxrloc send-dicom 127.0.0.1 104 runs/predictions/*.dcm --calling CXRLOC

HOST and PORT are the receiver's, and so is the AE title --called. Many receivers accept only a
--calling title that they know. Files are sent as they are, in their own transfer syntax. The
connection is not encrypted: use it inside a hospital's network, or through a tunnel.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxrloc.configs.command_line import port_number, run_tool, tool_parser

if TYPE_CHECKING:
    from pynetdicom.association import Association

_TIMEOUT_S = 30


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool(
        "send_dicom", lambda: _run(_parser().parse_args(argv)), f"ends within {3 * _TIMEOUT_S} s"
    )


def _run(arguments: argparse.Namespace) -> int:
    contexts = presentation_contexts(arguments.files)
    association = associate(arguments, contexts)
    failures = []
    try:
        for path in arguments.files:
            if failure := send(association, path):
                failures.append(failure)
    except KeyboardInterrupt:
        association.abort()
        print(f"send_dicom: {path} and the files after it were not sent", file=sys.stderr)
        raise
    finally:
        if association.is_established:
            association.release()
        for failure in failures:
            print(f"send_dicom: not stored: {failure}", file=sys.stderr)
    print(f"{len(arguments.files) - len(failures)} of {len(arguments.files)} files stored.")
    return 1 if failures else 0


def presentation_contexts(files: Sequence[Path]) -> list[tuple[str, str]]:
    """Class and transfer syntax of the files, each pair once.

    Raises:
        ValueError: for a file that is no DICOM file.
        OSError: for one that cannot be read.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    pairs: dict[tuple[str, str], None] = {}
    for path in files:
        try:
            meta = dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True).file_meta
            pairs[meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID] = None
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such file; expected DICOM files") from None
        except (InvalidDicomError, AttributeError):
            raise ValueError(f"{path}: not a DICOM file; expected one with a header") from None
    return list(pairs)


def associate(arguments: argparse.Namespace, contexts: Sequence[tuple[str, str]]) -> Association:
    """An open connection to the receiver.

    Raises:
        ConnectionError: when nobody answers or the receiver refuses.
        ModuleNotFoundError: without pynetdicom.
    """
    from pynetdicom import AE

    entity = AE(ae_title=arguments.calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_S
    entity.connection_timeout = _TIMEOUT_S
    for sop_class, syntax in contexts:
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate(arguments.host, arguments.port, ae_title=arguments.called)
    if not association.is_established:
        why = "refuses the connection" if association.is_rejected else "does not answer"
        raise ConnectionError(
            f"{arguments.called} at {arguments.host}:{arguments.port} {why}; check host, port, "
            "--called, and that the receiver knows --calling"
        )
    return association


def send(association: Association, path: Path) -> str:
    """Send one file; returns why it was not stored, empty if it was."""
    try:
        status = association.send_c_store(path)
    except (ValueError, RuntimeError) as error:  # no accepted context, or the connection is gone
        reason = (
            "the receiver does not take this kind of object"
            if association.is_established
            else "the connection was lost"
        )
        return f"{path}: {reason} ({type(error).__name__})"
    if "Status" not in status:
        association.abort()  # the remaining files need not wait as long
        return f"{path}: the receiver hung up or did not answer in {_TIMEOUT_S} s; see its log"
    code = int(status.Status)
    # B000 to BFFF are warnings: stored, with something left out or changed (PS3.4 B.2.3)
    return (
        ""
        if code == 0 or code >> 12 == 0xB
        else f"{path}: the receiver answered with status {code:04X}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    parser.add_argument("host", metavar="HOST", help="name or address of the receiver")
    parser.add_argument("port", metavar="PORT", type=port_number, help="its port")
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="DICOM files")
    parser.add_argument(
        "--called", default="ANY-SCP", help="AE title of the receiver (default: ANY-SCP)"
    )
    parser.add_argument(
        "--calling", default="CXRLOC", help="AE title of the sender (default: CXRLOC)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
