"""Both stages of a cross-validation side by side, out of fold, beside what others published."""

from __future__ import annotations

from collections.abc import Sequence

from cxrloc.classification.fold_metrics import Sampled, Spread, fold_spreads, sample_figures
from cxrloc.classification.fold_table import fold_rows
from cxrloc.classification.published_auc import MACRO, studies_of_means
from cxrloc.classification.scored_films import ScoredFilms
from cxrloc.classification.text_tables import TextTable

STAGES = ("frozen", "fine-tuned")
_FIGURES = ("auc", "ap", "brier")


def stage_records(
    stages: Sequence[ScoredFilms], replicates: int, seed: int
) -> list[dict[str, object]]:
    """Lines of cross_validation.csv for each stage: every disease and the macro mean."""
    return [
        {**row.record(), "stage": name}
        for name, films in zip(STAGES, stages, strict=True)
        for row in fold_rows(films, replicates, seed)
    ]


def stage_table(stages: Sequence[ScoredFilms], replicates: int, seed: int) -> TextTable:
    """Macro means of both stages and of their paired difference.

    Args:
        stages: all films out of fold, as the best epoch of the first and of the second stage
            judges them; the same films in the same order.
        replicates, seed: of the patient bootstrap.
    """
    frozen, tuned = (sample_figures(films, replicates, seed) for films in stages)
    spreads = [{name: macro for name, (_, macro) in fold_spreads(f).items()} for f in stages]
    difference = {name: tuned[name] - frozen[name] for name in _FIGURES}
    rows = [
        *(_row(*parts) for parts in zip(STAGES, (frozen, tuned), spreads, strict=True)),
        _row("fine-tuned minus frozen", difference, {}),
        *_published(stages[0].diseases),
    ]
    heads = ("macro AUC", "macro AP", "macro Brier")
    return TextTable(
        "Stages",
        ("stage", *(text for head in heads for text in (head, "over folds"))),
        tuple(rows),
        (
            "frozen: the head, trained on the frozen backbone. fine-tuned: then all layers. Of "
            "both the epoch with the highest AUC on the fold's validation films, on the same films "
            "out of fold. All other tables are of the stage that is better on the fold's "
            "validation films.",
            f"The difference is paired, film by film, on {replicates} resamples of patients.",
            "Published figures are of other films and of NIH's 14 labels.",
            *stages[0].parts_notes,
        ),
    )


def _row(name: str, figures: dict[str, Sampled], spreads: dict[str, Spread]) -> tuple[str, ...]:
    cells = ((str(figures[f].macro), str(spreads.get(f, ""))) for f in _FIGURES)
    return (name, *(text for pair in cells for text in pair))


def _published(diseases: Sequence[str]) -> list[tuple[str, ...]]:
    blank = ("",) * (2 * len(_FIGURES) - 1)
    return [
        (f"published: {study.study}", study.values[MACRO], *blank)
        for study in studies_of_means(diseases)
        if any(stage in study.study for stage in STAGES)
    ]
