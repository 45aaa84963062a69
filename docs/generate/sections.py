"""The sections of the comparison's report, in its order, from `ANALYSES`."""

from __future__ import annotations

import inspect

from cxrloc.localization.comparison_report.build import ANALYSES, Analysis
from generate.markdown import from_docstring, module_docstring


def sections_page() -> str:
    """What each section answers, and when it is left out."""
    return "\n\n".join(
        (
            "# Sections of the report",
            "`cxrloc compare` writes `report.html`; these are its sections in order. A section is "
            "one function `analysis(evaluated) -> Section | None`; one that returns `None` is left "
            "out, as the ladder is without heat maps. Every table lies beside the page as `.csv`, "
            "`.md` and `.tex`, every figure as `.png` and `.svg`.",
            *map(_section, ANALYSES),
        )
    )


def _section(analysis: Analysis) -> str:
    module = analysis.__module__.removeprefix("cxrloc.")
    return "\n\n".join(
        (
            f"## {analysis.__name__.replace('_', ' ').capitalize()}",
            from_docstring(inspect.getdoc(analysis) or ""),
            from_docstring(module_docstring(module)),
            f"Code: `{module.replace('.', '/')}.py`.",
        )
    )
