"""Define the settings of a run of cxrloc train-maskrcnn, and name its files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cxrloc.configs.checks import Count, NonNegativeFloat, NonNegativeInt, check_fields
from cxrloc.datasets.files.parse import read_json
from cxrloc.datasets.prepared.choice import ImageChoice
from cxrloc.detection.config import DetectorConfig, ModelConfig, TrainConfig

MASK_RCNN = "maskrcnn.safetensors"


@dataclass(frozen=True)
class MaskRCNNFolder:
    """Paths of the files of a run, or of one of its folds."""

    path: Path

    def fold(self, number: int | None) -> MaskRCNNFolder:
        """The folder of the detector with this test fold; the run's own without folds."""
        return self if number is None else MaskRCNNFolder(self.path / f"fold{number}")

    @property
    def detector(self) -> Path:
        """The trained model."""
        return self.path / MASK_RCNN

    @property
    def boxes(self) -> Path:
        """The box head's boxes, as COCO results."""
        return self.path / "mask_rcnn.json"

    @property
    def mask_boxes(self) -> Path:
        """Boxes around the masks."""
        return self.path / "mask_rcnn_mask_box.json"

    @property
    def small_masks(self) -> Path:
        """A fold's masks, in the frame of `size` pixels."""
        return self.path / "masks_small_frame.json"

    @property
    def masks(self) -> Path:
        """The masks of all folds, in that frame."""
        return self.path / "mask_rcnn_masks.json"

    @property
    def stages(self) -> Path:
        """Where a fold's detector loses findings."""
        return self.path / "stages.md"

    @property
    def predicted(self) -> Path:
        """Record of the source of a fold's boxes and masks."""
        return self.path / "predicted.json"

    @property
    def predicted_mark(self) -> str:
        """Mark of that source; empty before the prediction."""
        path = self.predicted
        mark = read_json(path) if path.is_file() else None
        return str(mark.get("of", "")) if isinstance(mark, dict) else ""  # else predicted again

    @property
    def average_precision(self) -> Path:
        return self.path / "coco_ap.json"

    @property
    def average_precision_page(self) -> Path:
        return self.path / "coco_ap.md"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"


@dataclass(frozen=True)
class DataConfig:
    """The images to train on and to predict.

    Attributes:
        prepared: folder written by cxrloc prepare.
        split: folds, or official: one detector trains on the data set's own train part and
            predicts its test part.
        folds: test folds to run, or all. A fold's detector trains on all other folds and predicts
            its own images.
        validation: keep fold (test + 1) mod k, or with `official` a tenth of the patients, out of
            the training, and keep the weights that score best on it. Off: those images are used for
            training too, and the last weights are kept.
            With a cosine down to zero the last weights are rarely worse, and a fifth more boxes is
            worth more than the choice.
        negatives: images without any finding in each training epoch, per boxed image (.25 is one
            for every four); each epoch draws others. An image with a finding but no box is never a
            negative, nor is one where a disease is unknown.
        predict: boxed images of the test fold, all of them, or those that are boxed or in the data
            set's official test list.
        diseases: classes in order; empty means every disease with a box.
        cache: folder of the decoded pixels; empty means `pixel_cache` in the prepared folder.
        workers: processes that decode images the first time.
        strict: stop at an unreadable file; otherwise it is named, counted and left out.
    """

    prepared: str = ""
    split: Literal["folds", "official"] = "folds"
    folds: Literal["all"] | list[int] = "all"
    validation: bool = False
    negatives: NonNegativeFloat = 0.0
    predict: ImageChoice = "boxed"
    diseases: tuple[str, ...] = ()
    cache: str = ""
    workers: Count = 2
    strict: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "data.")
        if self.split == "official" and self.folds != "all":
            raise ValueError(f"data.folds {self.folds}: data.split official has no folds; omit it")


@dataclass(frozen=True)
class MaskRCNNConfig:
    """One run of cxrloc train-maskrcnn.

    Attributes:
        out: run folder.
        folds: `--folds 5` runs all folds and checks that the prepared data has five.
        backend: torchvision or detectron2.
        size: side of the input square in pixels, a multiple of 32.
        seed: the same seed gives the same result on a CPU.
    """

    out: str = ""
    folds: int | None = None
    backend: str = "torchvision"
    size: int = 384
    seed: NonNegativeInt = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        for key, value in (("out", self.out), ("data.prepared", self.data.prepared)):
            if not value:
                raise ValueError(f"{key} is empty: expected a folder")
        if self.train.patience and not self.data.validation:
            raise ValueError(
                f"train.patience {self.train.patience}: without validation images no epoch is "
                "better than another; set data.validation true, or train.patience 0"
            )
        if self.data.split == "official" and self.folds is not None:
            raise ValueError(f"folds {self.folds}: data.split official has no folds; omit it")
        self.detector(self.data.diseases)

    def detector(self, diseases: tuple[str, ...]) -> DetectorConfig:
        """The detector of every fold."""
        return DetectorConfig(self.backend, self.size, diseases, self.seed, self.model, self.train)

    @property
    def held(self) -> Path | None:
        """The folder that this run alone may write; trainings of some folds may share theirs."""
        all_folds = self.folds is not None or self.data.folds == "all"
        return Path(self.out) if all_folds or self.data.split == "official" else None

    def test_folds(self, k: int) -> tuple[int | None, ...]:
        """Test folds to run, among the prepared data's `k`; one None for the official split.

        Raises:
            ValueError: for a fold that does not exist, or `folds` other than `k`.
        """
        if self.data.split == "official":
            return (None,)
        if self.folds is not None and self.folds != k:
            raise ValueError(
                f"--folds {self.folds}, but {self.data.prepared} was prepared with {k} folds; "
                f"prepare it with {self.folds} folds or request {k}"
            )
        if self.folds is not None or self.data.folds == "all":
            return tuple(range(k))
        wrong = [fold for fold in self.data.folds if not 0 <= int(fold) < k]
        if wrong or not self.data.folds:
            raise ValueError(
                f"data.folds {self.data.folds}: expected numbers from 0 to {k - 1}, or all"
            )
        return tuple(int(fold) for fold in self.data.folds)
