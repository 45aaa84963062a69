"""The `cxrloc` command: one verb for each script in tools/.

`cxrloc` alone says which verb does what; `cxrloc VERB ...` calls the script's own `main`.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from cxrloc.datasets.files.runs.early import may_be_ended

_INTRODUCTION = """\
Classify chest radiographs, box findings, and measure which localizer is better.
Research use only, never a diagnosis."""
_CLOSING = """\
`cxrloc VERB --help` shows examples and options; `cxrloc --version` the version.
Exit status: 0 done; 1 done, but some inputs failed (audit-leakage: leaked);
2 wrong usage, or files that are not what is needed; 3 nothing found, but not
known (audit-leakage); 130 interrupted by Ctrl+C; 143 ended by SIGTERM."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns its exit status."""
    if argv is None:  # this process is ours
        may_be_ended()
    verb, *arguments = [*(sys.argv[1:] if argv is None else argv)] or ["--help"]
    if verb in ("--help", "-h", "help"):
        print(overview())
        return 0
    if verb == "--version":
        print(f"cxrloc {_version()}")
        return 0
    from cxrloc.configs.command_line import run_tool, started_as
    from cxrloc.configs.verbs import VERBS

    script = next((each.module for each in VERBS if each.name == verb), None)
    if script is None:
        print(f"cxrloc: error: {_unknown(verb)}", file=sys.stderr)
        return 2

    def run() -> int:
        return int(_imported(script).main(arguments))

    with started_as(f"cxrloc {verb}"):
        return run_tool("cxrloc", run, "nothing was done", tidies=False)


def _imported(script: str) -> ModuleType:
    """The module of a verb; its libraries take their time.

    What they make stays: Python looks for no garbage among it, a tenth of the time of a start.
    """
    gc.disable()
    try:
        return importlib.import_module(script)
    finally:
        gc.freeze()
        gc.enable()


def overview() -> str:
    """The table of verbs, by what the reader wants."""
    from cxrloc.configs.verbs import VERBS

    width = max(len(verb.wish) for verb in VERBS)
    lines = [f"  {'I want to ...':{width}} -> cxrloc VERB"]
    for group in dict.fromkeys(verb.group for verb in VERBS):
        rows = [v for v in VERBS if v.group == group]
        lines += ["", group, *(f"  {v.wish:{width}} -> cxrloc {v.name}" for v in rows)]
    return "\n\n".join([_INTRODUCTION, "\n".join(lines), _CLOSING])


def _unknown(word: str) -> str:
    import difflib

    from cxrloc.configs.verbs import VERBS

    near = difflib.get_close_matches(word, [verb.name for verb in VERBS], n=1, cutoff=0.5)
    guess = f"did you mean `cxrloc {near[0]}`? " if near else ""
    return f"there is no verb {word!r}; {guess}`cxrloc` alone lists all verbs"


def _version() -> str:
    from importlib import metadata  # takes as long as all the rest

    try:
        return metadata.version("cxrloc")
    except metadata.PackageNotFoundError:
        return "(a checkout that is not installed)"


if __name__ == "__main__":
    sys.exit(main())
