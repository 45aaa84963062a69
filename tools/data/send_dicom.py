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

from cxrloc.configs.command_line import port_number, run_tool, tool_parser
from cxrloc.localization.dicom_output.c_store import (
    TIMEOUT_S,
    Peer,
    associate,
    presentation_contexts,
    store,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool(
        "send_dicom", lambda: _run(_parser().parse_args(argv)), f"ends within {3 * TIMEOUT_S} s"
    )


def _run(arguments: argparse.Namespace) -> int:
    contexts = presentation_contexts(arguments.files)
    peer = Peer(arguments.called, arguments.host, arguments.port)
    try:
        association = associate(peer, arguments.calling, contexts)
    except ConnectionError as error:
        advice = "check host, port, --called, and that the receiver knows --calling"
        raise ConnectionError(f"{error}; {advice}") from None
    failures = []
    try:
        for path in arguments.files:
            if reason := store(association, path):
                failures.append(f"{path}: {reason}")
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
