"""The glossary page: the terms that `cxrloc compare --explain` prints."""

from __future__ import annotations

from cxrloc.localization.report.glossary import SYMBOLS, TERMS, Term
from generate.markdown import plain


def glossary_page() -> str:
    """Every term with its formula, its source and what it hides."""
    return "\n\n".join(
        (
            "# Glossary",
            "`cxrloc compare --explain` prints this page, `cxrloc compare --explain acc_iobb` one "
            "term. Each column of each table of the report is here.",
            f"{SYMBOLS}",
            *(_entry(name, term) for name, term in TERMS.items()),
        )
    )


def _entry(name: str, term: Term) -> str:
    parts = [f"### {plain(name)}"]
    if term.also:
        parts.append(f"Also: {', '.join(map(plain, term.also))}.")
    parts.append(plain(term.definition))
    if term.formula:
        parts.append(f"Formula: `{term.formula}`")
    if term.source:
        parts.append(f"Source: {plain(term.source)}.")
    if term.hides:
        parts.append(f"**What it hides.** {plain(term.hides)}")
    return "\n\n".join(parts)
