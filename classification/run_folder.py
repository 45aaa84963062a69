"""The files of a classifier run, by name. Torch is not needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrloc.datasets.provenance.image_lists import TRAINING_IMAGES

CLASSIFIER = "classifier.safetensors"


def bundles_at(path: Path, name: str = CLASSIFIER) -> list[Path]:
    """The trained models that a path on the command line means.

    Args:
        path: a bundle, or a run folder: of a single split, or of all folds.
        name: the bundle's file name in a run folder.

    Raises:
        FileNotFoundError: for a folder without a trained model.
    """
    if not path.is_dir():
        return [path]
    if (path / name).is_file():
        return [path / name]
    if folds := sorted(path.glob(f"fold*/{name}")):
        return folds
    raise FileNotFoundError(f"{path} holds no trained model: expected {name} or fold0/{name}")


def bundle_at(path: Path, name: str = CLASSIFIER) -> Path:
    """As `bundles_at`, where only one can be used.

    Raises:
        FileNotFoundError: for a folder without a trained model.
        ValueError: for a run over several folds.
    """
    bundles = bundles_at(path, name)
    if len(bundles) > 1:
        raise ValueError(
            f"{path} holds {len(bundles)} trained models; name one, such as {bundles[0]}"
        )
    return bundles[0]


@dataclass(frozen=True)
class RunFolder:
    """Where the files of a run are, or those of one fold of it.

    The folder of a run over all folds holds their decisions and figures together, and a folder for
    each. A run of a single split is one folder.
    """

    path: Path

    def fold(self, number: int) -> RunFolder:
        """The folder of the training with this test fold."""
        return RunFolder(self.path / f"fold{number}")

    @property
    def classifier(self) -> Path:
        """The trained model."""
        return self.path / CLASSIFIER

    def stage_classifier(self, number: int) -> Path:
        """The model of a stage that was not chosen."""
        return self.path / f"classifier_stage{number}.safetensors"

    @property
    def training_images(self) -> Path:
        """Which images had a say in the model."""
        return self.path / TRAINING_IMAGES

    @property
    def settings(self) -> Path:
        """What the training was begun with."""
        return self.path / "settings.json"

    @property
    def checkpoints(self) -> Path:
        """What a training that was killed goes on from; removed at its end."""
        return self.path / "checkpoints"

    @property
    def gate(self) -> Path:
        """The decision on each test image and disease."""
        return self.path / "gate.csv"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def metrics_page(self) -> Path:
        return self.path / "metrics.md"

    @property
    def validation(self) -> Path:
        """Probabilities of the validation images."""
        return self.path / "validation.parquet"

    @property
    def out_of_fold(self) -> Path:
        """Probabilities of every image, each by the model that has not seen its patient."""
        return self.path / "out_of_fold.parquet"

    @property
    def out_of_fold_page(self) -> Path:
        return self.path / "cross_validation.md"

    @property
    def out_of_fold_manifest(self) -> Path:
        return self.path / "cross_validation.manifest.json"

    @property
    def examinations(self) -> Path:
        """Figures of examinations."""
        return self.path / "studies.csv"

    @property
    def examinations_page(self) -> Path:
        return self.path / "studies.md"
