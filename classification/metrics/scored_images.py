"""Read and write probabilities with labels and thresholds: a cross-validation's Parquet file.

One row per image; columns of `SCHEMA_VERSION` 1:
    image_id, patient_id   strings
    study_id, body_part    strings; only if the data set has examinations and body parts
    fold                   int32: the fold that held the image out; its model gave the probabilities
                           (-1 outside all folds: cxrloc score-images)
    probability_D          float64 in 0..1, for each disease D
    label_D                float64: 1 present, 0 absent, null unknown
    threshold_RULE_D       float64: RULE is youden or target (a chosen sensitivity), chosen on the
                           fold's validation images (outside all folds: see
                           `cxrloc.classification.runs.ensemble`); null if there was none, which
                           means never predicted present
The file's metadata (key `cxrloc`, JSON) contains the version, the diseases in order, the rules, the
chosen sensitivity and the notice. Validation images use the same format, without thresholds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field
from typing_extensions import TypedDict

from cxrloc.classification.metrics.bootstrap import FloatArray
from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.checked import MAX_FOLDS, Name, Share, checked
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.files.parse import one_line, parse_json
from cxrloc.datasets.radiograph import Radiograph, label_matrix

SCHEMA_VERSION = 1
OUTSIDE = -1  # the fold of images in no fold
YOUDEN, TARGET = "youden", "target"
_KEY = b"cxrloc"


_AGAIN = "run cxrloc train-gate with the run's config again"


@dataclass(frozen=True)
class ScoredImages:
    """N images with D probabilities each.

    Attributes:
        diseases: D names, the columns.
        image_ids, patient_ids: N each; image ids are unique.
        folds: (N,) the fold that held the image out; `OUTSIDE` if there is none.
        scores: (N, D) in 0..1.
        labels: (N, D) of 0, 1 and NaN.
        thresholds: rule -> (N, D), NaN for none; empty for images without thresholds.
        sensitivity: target of the rule `target`; NaN without that rule.
        study_ids, body_parts: N each, empty text if unknown; or empty for all images.
    """

    diseases: tuple[str, ...]
    image_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    folds: npt.NDArray[np.int64] = field(repr=False)
    scores: FloatArray = field(repr=False)
    labels: FloatArray = field(repr=False)
    thresholds: Mapping[str, FloatArray] = field(default_factory=dict, repr=False)
    sensitivity: float = float("nan")
    study_ids: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.image_ids), len(self.diseases))
        matrices = {"scores": self.scores, "labels": self.labels, **self.thresholds}
        for name, matrix in matrices.items():
            if matrix.shape != shape:
                got = f"{name}: shape {matrix.shape}"
                raise ValueError(f"{got}, expected (images, diseases) {shape}")
        if not (len(self.patient_ids) == len(self.folds) == shape[0]):
            raise ValueError(f"expected a patient and a fold for each of {shape[0]} images")
        if {len(self.study_ids), len(self.body_parts)} - {0, shape[0]}:
            raise ValueError(
                f"expected an examination and a body part for each of {shape[0]} images, or none"
            )
        if len(set(self.image_ids)) < shape[0]:
            twice = next(i for n, i in enumerate(self.image_ids) if i in self.image_ids[:n])
            raise ValueError(f"image {twice} occurs twice; expected one prediction per image")
        if not ((self.scores >= 0) & (self.scores <= 1)).all():  # false for NaN too
            raise ValueError("expected probabilities in 0..1, got values outside or NaN")

    @classmethod
    def of(
        cls,
        radiographs: Sequence[Radiograph],
        diseases: tuple[str, ...],
        scores: FloatArray,
        folds: npt.ArrayLike,
        thresholds: Mapping[str, FloatArray] | None = None,
    ) -> ScoredImages:
        """Combine radiographs with their probabilities, labels, examinations and body parts.

        Args:
            diseases, scores, thresholds: see the attributes.
            folds: one per image, or one for all.
        """
        study_ids = tuple(radiograph.study_id for radiograph in radiographs)
        body_parts = tuple(radiograph.body_part for radiograph in radiographs)
        return cls(
            diseases,
            tuple(radiograph.image_id for radiograph in radiographs),
            tuple(radiograph.patient_id for radiograph in radiographs),
            np.full(len(radiographs), folds, dtype=np.int64),
            scores,
            label_matrix(radiographs, diseases),
            thresholds or {},
            study_ids=study_ids if any(study_ids) else (),
            body_parts=body_parts if any(body_parts) else (),
        )

    def __len__(self) -> int:
        return len(self.image_ids)

    def select(self, rows: npt.NDArray[Any]) -> ScoredImages:
        """The images of a boolean mask, or at the given positions in that order."""
        positions = np.arange(len(self))[rows]
        return replace(
            self,
            image_ids=tuple(self.image_ids[i] for i in positions),
            patient_ids=tuple(self.patient_ids[i] for i in positions),
            folds=self.folds[positions],
            scores=self.scores[positions],
            labels=self.labels[positions],
            thresholds={rule: t[positions] for rule, t in self.thresholds.items()},
            study_ids=tuple(self.study_ids[i] for i in positions if self.study_ids),
            body_parts=tuple(self.body_parts[i] for i in positions if self.body_parts),
        )

    @property
    def several_parts(self) -> tuple[str, ...]:
        """The body parts if there are several, in order: overall figures need those by part too."""
        parts = sorted({*self.body_parts} - {""})
        return tuple(parts) if len(parts) > 1 else ()

    @property
    def parts_note(self) -> str:
        """Note for figures over several body parts; empty for a single one."""
        if not self.several_parts:
            return ""
        return f"{len(self.several_parts)} body parts together; see the tables by part"

    @property
    def parts_notes(self) -> tuple[str, ...]:
        """`parts_note` as a note of a table, or no note."""
        return (self.parts_note,) if self.parts_note else ()

    def of_part(self, part: str) -> ScoredImages:
        """The images of one body part."""
        return self.select(np.array(self.body_parts) == part)

    def present(self, rule: str) -> npt.NDArray[np.bool_]:
        """(N, D) probability >= threshold of a rule; never present without a threshold."""
        return self.scores >= np.nan_to_num(self.thresholds[rule], nan=np.inf)


def join_images(parts: Sequence[ScoredImages]) -> ScoredImages:
    """Concatenate images of parts with the same diseases.

    Only thresholds of rules shared by all parts are kept: an image without a threshold would count
    as predicted absent.
    """
    first = parts[0]
    rules = [rule for rule in first.thresholds if all(rule in part.thresholds for part in parts)]
    return replace(
        first,
        image_ids=tuple(i for part in parts for i in part.image_ids),
        patient_ids=tuple(p for part in parts for p in part.patient_ids),
        folds=np.concatenate([part.folds for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        thresholds={
            rule: np.concatenate([part.thresholds[rule] for part in parts]) for rule in rules
        },
        sensitivity=first.sensitivity if TARGET in rules else float("nan"),
        study_ids=tuple(s for part in parts for s in part.study_ids),
        body_parts=tuple(b for part in parts for b in part.body_parts),
    )


def write_scored_images(path: Path, images: ScoredImages) -> None:
    """Write the Parquet file atomically."""
    columns = {
        "image_id": pa.array(images.image_ids, pa.string()),
        "patient_id": pa.array(images.patient_ids, pa.string()),
        "fold": pa.array(images.folds, pa.int32()),
    }
    text_columns = {"study_id": images.study_ids, "body_part": images.body_parts}
    columns |= {name: pa.array(texts, pa.string()) for name, texts in text_columns.items() if texts}
    matrices = {"probability": images.scores, "label": images.labels}
    matrices |= {f"threshold_{rule}": t for rule, t in images.thresholds.items()}
    for prefix, matrix in matrices.items():
        for i, disease in enumerate(images.diseases):
            # NaN becomes null, which other readers skip by default
            column = pa.array(matrix[:, i], pa.float64(), from_pandas=True)
            columns[f"{prefix}_{disease}"] = column
    facts = {
        "version": SCHEMA_VERSION,
        "diseases": images.diseases,
        "rules": list(images.thresholds),
        "sensitivity": None if np.isnan(images.sensitivity) else images.sensitivity,
        "notice": f"{RESEARCH_USE}.",
    }
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(facts)})
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def read_scored_images(path: Path) -> ScoredImages:
    """Read a file written by `write_scored_images`.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: for another Parquet file, or another version.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no predictions at {path}; run cxrloc train-gate with the run's config to "
            "write them (finished folds are not trained again)"
        )
    table = _read_table(path)
    text = (table.schema.metadata or {}).get(_KEY, b"{}")
    stated = parse_json(text, f"{path}: its metadata")
    version = stated.get("version") if isinstance(stated, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: version {version}, expected version {SCHEMA_VERSION} as written by cxrloc "
            "train-gate"
        )
    facts: _Facts = checked(stated, _Facts, f"{path}: its metadata", _AGAIN)
    try:
        return _from_table(table, facts)
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {one_line(error)}; {_AGAIN}") from error


class _Facts(TypedDict):
    diseases: Annotated[list[Name], Field(min_length=1)]
    rules: list[Name]
    sensitivity: Share | None


def _from_table(table: pa.Table, facts: _Facts) -> ScoredImages:
    diseases, sensitivity = tuple(facts["diseases"]), facts["sensitivity"]
    images = ScoredImages(
        diseases=diseases,
        image_ids=tuple(table["image_id"].to_pylist()),
        patient_ids=tuple(table["patient_id"].to_pylist()),
        folds=table["fold"].to_numpy().astype(np.int64),
        scores=_matrix(table, "probability", diseases),
        labels=_matrix(table, "label", diseases),
        thresholds={r: _matrix(table, f"threshold_{r}", diseases) for r in facts["rules"]},
        sensitivity=float("nan") if sensitivity is None else sensitivity,
        study_ids=_texts(table, "study_id"),
        body_parts=_texts(table, "body_part"),
    )
    texts = (*images.image_ids, *images.patient_ids, *images.study_ids, *images.body_parts)
    if None in texts or "" in images.image_ids or "" in images.patient_ids:
        raise ValueError("an image or its patient has no name")
    if not ((images.folds >= OUTSIDE) & (images.folds < MAX_FOLDS)).all():
        raise ValueError(f"folds from {images.folds.min()} to {images.folds.max()}")
    if not np.isin(images.labels[~np.isnan(images.labels)], (0, 1)).all():
        raise ValueError("labels other than 0, 1 and unknown")
    for rule, thresholds in images.thresholds.items():
        if not (np.isnan(thresholds) | ((thresholds >= 0) & (thresholds <= 1))).all():
            raise ValueError(f"thresholds of {rule} outside 0 to 1")
    return images


def _read_table(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        table.validate(full=True)
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path} is not a readable Parquet file: {one_line(error)}") from error


def _texts(table: pa.Table, name: str) -> tuple[str, ...]:
    return tuple(table[name].to_pylist()) if name in table.column_names else ()


def _matrix(table: pa.Table, prefix: str, diseases: Sequence[str]) -> FloatArray:
    columns = [table[f"{prefix}_{d}"].to_numpy().astype(np.float64) for d in diseases]
    return np.array(columns, dtype=np.float64).reshape(len(diseases), len(table)).T.copy()
