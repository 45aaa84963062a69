"""What the API sends, as its OpenAPI description states it.

The record of an image is that of `localization/diagnosis/to_json.py`: COCO's keys and ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from cxrloc.classification.bundle.file import read_metadata
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256
from cxrloc.localization.diagnosis.diagnoser import Diagnoser
from cxrloc.tools.server.http.problems import Problem, problem

Share = Annotated[float, Field(ge=0, le=1)]


class _Open(BaseModel):
    """A record that may hold more keys than are described here."""

    model_config = ConfigDict(extra="allow")


class Image(_Open):
    id: int = Field(description="always 1")
    file_name: str
    width: int = Field(ge=1, description="pixels of the original frame")
    height: int = Field(ge=1, description="pixels of the original frame")


class Category(_Open):
    id: int = Field(ge=1)
    name: str


class FindingRecord(_Open):
    category_id: int = Field(ge=1)
    disease: str
    probability: Share
    threshold: Share | None = Field(description="null: the gate cannot decide on this disease")
    present: bool = Field(description="probability >= threshold")


class Annotation(_Open):
    id: int = Field(ge=1)
    image_id: int
    category_id: int = Field(ge=1)
    bbox: list[float] = Field(
        min_length=4, max_length=4, description="x, y, width, height in pixels of the original"
    )
    area: float
    iscrowd: int
    score: float = Field(description="comparable within one localizer and disease only")
    localizer: str
    rank: int = Field(ge=1, description="1: the strongest box of its localizer and disease")


class ImageRecord(_Open):
    """One image in COCO's format, with the gate's findings."""

    research_use: str
    message: str
    warnings: list[str] = Field(description="on the image: lateral, no body part stated ...")
    images: list[Image]
    categories: list[Category]
    findings: list[FindingRecord]
    annotations: list[Annotation]
    localizers: list[str]
    runtime: str = Field(description="what ran the gate's network")


class Result(BaseModel):
    """One file of the request: exactly one of `prediction` and `problem` is there."""

    file_name: str
    prediction: ImageRecord | None = None
    problem: Problem | None = None


class Predictions(BaseModel):
    """Results in the order of the files."""

    research_use: str = RESEARCH_USE
    results: list[Result]


class Model(BaseModel):
    """One bundle that the server has loaded."""

    kind: str = Field(examples=["classifier"])
    file_name: str = Field(examples=["classifier.safetensors"])
    sha256: str = Field(examples=["4d7f6a9e8c3b2a1f" * 4])
    diseases: list[str] = Field(examples=[["Cardiomegaly", "Mass"]])
    thresholds: dict[str, float | None] | None = Field(
        None, examples=[{"Cardiomegaly": 0.42, "Mass": 0.31}]
    )


class ModelList(BaseModel):
    research_use: str = RESEARCH_USE
    localizers: list[str] = Field(examples=[["grad_cam", "mask_rcnn"]])
    runtime: str = Field(description="what runs the networks", examples=["torch fp32 on cpu"])
    models: list[Model]

    @property
    def hashes(self) -> dict[str, str]:
        """Kind of each bundle -> its hash, for DICOM reports."""
        return {model.kind: model.sha256 for model in self.models}


class Health(BaseModel):
    status: str = "ok"
    images_waiting: int = Field(ge=0, examples=[0])


EXAMPLE: dict[str, Any] = {
    "research_use": RESEARCH_USE,
    "results": [
        {
            "file_name": "a.png",
            "prediction": {
                "research_use": f"{RESEARCH_USE}.",
                "message": "Passed the gate: Cardiomegaly.",
                "warnings": [],
                "images": [{"id": 1, "file_name": "a.png", "width": 1024, "height": 1024}],
                "categories": [{"id": 1, "name": "Cardiomegaly"}, {"id": 2, "name": "Mass"}],
                "findings": [
                    {
                        "category_id": 1,
                        "disease": "Cardiomegaly",
                        "probability": 0.81,
                        "threshold": 0.42,
                        "present": True,
                    },
                    {
                        "category_id": 2,
                        "disease": "Mass",
                        "probability": 0.07,
                        "threshold": 0.31,
                        "present": False,
                    },
                ],
                "annotations": [
                    {
                        "id": 1,
                        "image_id": 1,
                        "category_id": 1,
                        "bbox": [330.0, 480.0, 410.0, 300.0],
                        "area": 123000.0,
                        "iscrowd": 0,
                        "score": 0.63,
                        "localizer": "grad_cam",
                        "rank": 1,
                    },
                ],
                "localizers": ["grad_cam"],
                "runtime": "torch fp32 on cpu",
            },
        },
        {
            "file_name": "b.png",
            "problem": problem(422, "truncated PNG: 8192 bytes without the end chunk"),
        },
    ],
}


def loaded_models(diagnoser: Diagnoser, bundles: Sequence[Path]) -> ModelList:
    """The bundles with their hashes, the localizers and what runs the networks."""
    names = [diagnoser.cam.name, *(detector.name for detector in diagnoser.detectors)]
    return ModelList(
        localizers=names,
        runtime=diagnoser.runtime,
        models=[_model(path) for path in bundles],
    )


def _model(path: Path) -> Model:
    metadata = read_metadata(path)
    return Model(
        kind=metadata["kind"],
        file_name=path.name,
        sha256=file_sha256(path),
        diseases=list(metadata["diseases"]),
        thresholds=metadata.get("thresholds"),
    )
