"""What a finished cross-validation says, as files in its run folder.

out_of_fold.parquet         every film, judged by the model that never saw its patient
cross_validation.csv, .md   per disease and macro: figures, intervals, mean and deviation over folds
                            (of two stages also for each: column `stage`)
confusion.csv, confusion_youden.png, confusion_target.png    counts per disease and summed
calibration.csv, .png       reliability: ten bins of equally many films per disease
epochs.png                  loss and, where it was logged, AUC per epoch with a band over folds
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cxrloc.classification.calibration import Bin, calibration_error, reliability
from cxrloc.classification.confusion import confusion_table, confusions, summed
from cxrloc.classification.fold_metrics import RULES
from cxrloc.classification.fold_plots import (
    Histories,
    plot_calibration,
    plot_confusions,
    plot_epochs,
)
from cxrloc.classification.fold_table import FoldRow, fold_rows, rule_words, text_tables
from cxrloc.classification.scored_films import OUT_OF_FOLD, ScoredFilms, write_scored_films
from cxrloc.classification.stage_table import stage_records, stage_table
from cxrloc.classification.text_tables import TextTable, to_markdown, write_records
from cxrloc.datasets.files import write_text

Curves = Mapping[str, Sequence[Bin]]


def write_fold_report(
    out: Path,
    films: ScoredFilms,
    histories: Histories,
    stages: Sequence[ScoredFilms] = (),
    by_part: Sequence[TextTable] = (),
    *,
    replicates: int,
    seed: int,
) -> str:
    """Write all files of a cross-validation; returns the Markdown page.

    Args:
        out: the run folder.
        films: out of fold, with thresholds of both rules.
        histories: fold -> one entry an epoch.
        stages: of a training in two stages the same films, as either stage judges them.
        by_part: of `study_tables.part_tables`, below the figures over all parts.
        replicates, seed: of the patient bootstrap.
    """
    write_scored_films(out / OUT_OF_FOLD, films)
    rows = fold_rows(films, replicates, seed)
    records = [{**row.record(), "stage": ""} for row in rows]
    tables = [*text_tables(films, rows), *by_part]
    tables += [confusion_table(confusions(films, r), rule_words(r, films)) for r in RULES]
    if stages:
        records += stage_records(stages, replicates, seed)
        tables.append(stage_table(stages, replicates, seed))
    write_records(out / "cross_validation.csv", records)
    page = to_markdown(f"Cross-validation: {out.name}", tables)
    write_text(out / "cross_validation.md", page)
    _write_confusions(out, films)
    _write_calibration(out, films, rows, replicates, seed)
    plot_epochs(out / "epochs.png", histories)
    return page


def _write_confusions(out: Path, films: ScoredFilms) -> None:
    records: list[dict[str, object]] = []
    for rule in RULES:
        tables = confusions(films, rule)
        records += [{"rule": rule, **table.record()} for table in (*tables, summed(tables))]
        plot_confusions(
            out / f"confusion_{rule}.png", tables, rule_words(rule, films), films.parts_note
        )
    write_records(out / "confusion.csv", records)


def _write_calibration(
    out: Path, films: ScoredFilms, rows: Sequence[FoldRow], replicates: int, seed: int
) -> None:
    curves = {
        disease: reliability(
            films.labels[:, i], films.scores[:, i], films.patient_ids,
            replicates=replicates, seed=seed,
        )
        for i, disease in enumerate(films.diseases)
    }  # fmt: skip
    records: list[dict[str, object]] = []
    for disease, bins in curves.items():
        records += [{"disease": disease, "bin": n, **_bin_record(b)} for n, b in enumerate(bins)]
    write_records(out / "calibration.csv", records)
    titles = {
        row.disease: _calibration_title(row, calibration_error(curves[row.disease]))
        for row in rows[:-1]
    }
    plot_calibration(out / "calibration.png", curves, titles, films.parts_note)


def _bin_record(b: Bin) -> dict[str, object]:
    observed = b.observed
    return {
        "films": b.films,
        "mean_probability": b.mean_probability,
        "observed": observed.value,
        "observed_low": observed.low,
        "observed_high": observed.high,
    }


def _calibration_title(row: FoldRow, error: float | None) -> str:
    if error is None:
        return f"{row.disease}\nno known label"
    return f"{row.disease}\nBrier {row.pooled['brier'].value:.3f}, calibration error {error:.3f}"
