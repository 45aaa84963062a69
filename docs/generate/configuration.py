"""The keys of the configurations, from the dataclasses that they fill."""

from __future__ import annotations

from generate.markdown import REPOSITORY, code, plain, table
from generate.parsers import options, parser_of, verb_named
from generate.verbs import options_table

_CONFIGURED = ("train-gate", "train-maskrcnn")


def configuration_page() -> str:
    """Every dotted key of both trainings, with its default, and the YAML files that are shipped."""
    return "\n\n".join(
        (
            "# Configuration keys",
            "A configuration is a YAML file that fills a frozen dataclass. Every key is also an "
            "option: `--train.lr 1e-4` overrides `lr:` under `train:`. An unknown key or a value "
            "that is not allowed ends the run with status 2 and a message that names both. "
            "`--print-config` prints all settings of a command as YAML.",
            *map(_keys, _CONFIGURED),
            "## Configurations that are shipped",
            _files(),
        )
    )


def _keys(name: str) -> str:
    listed = options(parser_of(verb_named(name)))
    groups = dict.fromkeys(option.group for option in listed)
    parts = [f"## cxrloc {name}"]
    for group in groups:
        rows = [option for option in listed if option.group == group]
        title = "Of the run" if group in ("options", "optional arguments") else group
        parts += [f"### {title.rstrip('.:')}", options_table(rows)]
    return "\n\n".join(parts)


def _files() -> str:
    rows = []
    for path in sorted((REPOSITORY / "configs").rglob("*.yaml")):
        first = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                break
            first.append(line.lstrip("# "))
        rows.append((code(path.relative_to(REPOSITORY).as_posix()), plain(" ".join(first))))
    return table(("file", "command, cost and result, as its first comment says"), rows)
