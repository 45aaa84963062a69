"""Name the files of a classifier run, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrloc.datasets.files.addresses import fetched, is_address
from cxrloc.datasets.provenance.image_lists import TRAINING_IMAGES

CLASSIFIER = "classifier.safetensors"


def bundles_at(path: Path | str, name: str = CLASSIFIER) -> list[Path]:
    """The trained models that a path on the command line means.

    Args:
        path: a bundle, or a run folder: of a single split, or of all folds; or the address of a
            bundle (see `addresses`), which is fetched.
        name: the bundle's file name in a run folder.

    Raises:
        FileNotFoundError: for a folder without a trained model.
        ValueError, OSError, ImportError: for an address that cannot be fetched.
    """
    if isinstance(path, str) and is_address(path):
        return [fetched(path)]
    path = Path(path)
    if not path.is_dir():
        return [path]
    if (path / name).is_file():
        return [path / name]
    if folds := sorted(path.glob(f"fold*/{name}")):
        return folds
    raise FileNotFoundError(f"{path} holds no trained model: expected {name} or fold0/{name}")


def bundle_at(path: Path | str, name: str = CLASSIFIER) -> Path:
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
    """Paths of the files of a run, or of one of its folds.

    A run over all folds has their joint decisions and figures, and one subfolder per fold. A run of
    a single split is one folder.
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
        """The images that influenced the model."""
        return self.path / TRAINING_IMAGES

    @property
    def settings(self) -> Path:
        """The settings that the training started with."""
        return self.path / "settings.json"

    @property
    def checkpoints(self) -> Path:
        """State to resume an interrupted training; removed at its end."""
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
        """Probabilities of every image, each by the model that never saw its patient."""
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
