"""The verbs of the `cxrloc` command: the table of the README, and the reference page."""

from __future__ import annotations

from cxrloc.configs.verbs import VERBS, Verb
from generate.markdown import code, from_docstring, module_docstring, plain, table
from generate.parsers import Option, options, parser_of


def verbs_table(linked: bool = False) -> str:
    """What each verb is for; `linked` to its section on the page."""
    rows = [
        (verb.wish, f"[`{verb.name}`](#{verb.name})" if linked else f"`{verb.name}`")
        for verb in VERBS
    ]
    return table(("I want to …", "`cxrloc …`"), rows)


def verbs_page() -> str:
    """Every verb with its docstring and its options."""
    return "\n\n".join(
        (
            "# Verbs and options",
            "One command, `cxrloc VERB`; each verb is the `main` of a script, which also runs as "
            "`python tools/…`. `cxrloc VERB --help` prints what stands here. Exit status: 0 done; "
            "1 done, but some inputs failed (`audit-leakage`: leaked); 2 wrong usage, or files "
            "that are not what is needed; 3 (`audit-leakage` alone) not known; 130 interrupted.",
            verbs_table(linked=True),
            *map(_verb, VERBS),
        )
    )


def _verb(verb: Verb) -> str:
    listed = options(parser_of(verb))
    own = [option for option in listed if "." not in option.words.split()[0]]
    parts = [
        f"## {verb.name} {{#{verb.name}}}",
        f"*{verb.wish[0].upper()}{verb.wish[1:]}.* Script: `{verb.path}`.",
        from_docstring(module_docstring(f"tools.{verb.script}")),
        options_table(own),
    ]
    if len(own) < len(listed):
        parts.append("The dotted keys of its configuration: [Configuration](configuration.md).")
    return "\n\n".join(parts)


def options_table(listed: list[Option]) -> str:
    """Option, what it does, default."""
    rows = [
        (
            code(option.words),
            plain(option.help) + (" (required)" if option.required else ""),
            code(option.default),
        )
        for option in listed
    ]
    return table(("option", "what it does", "default"), rows)
