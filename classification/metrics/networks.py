"""Compare several networks on the same out-of-fold images: figures and pairwise differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.classification.metrics.delong import DeLong, delong_test, holm
from cxrloc.classification.metrics.ensembles import in_order_of, mean_of, with_thresholds
from cxrloc.classification.metrics.examinations import Levels, by_level
from cxrloc.classification.metrics.folds import sample_figures
from cxrloc.classification.metrics.sampled import Sampled
from cxrloc.classification.metrics.scored_images import (
    ScoredImages,
    read_scored_images,
)
from cxrloc.classification.run_folder import RunFolder


@dataclass(frozen=True)
class Network:
    """A cross-validated network, or an ensemble of several.

    Attributes:
        name: name in the tables.
        images: all images out of fold.
        validation: validation images of each fold; empty if they were not kept.
        members: names of an ensemble's networks; otherwise empty.
    """

    name: str
    images: ScoredImages = field(repr=False)
    validation: tuple[ScoredImages, ...] = field(default=(), repr=False)
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiseaseDifference:
    """The first network's AUC minus the second's for one disease.

    Attributes:
        bootstrap: with the interval of the paired patient bootstrap.
        delong: test that treats images as independent.
        holm_p: its p-value corrected over the diseases of the pair.
    """

    disease: str
    bootstrap: Estimate
    delong: DeLong
    holm_p: float


@dataclass(frozen=True)
class Pair:
    """Two networks; `macro` is the difference of the mean AUC over diseases."""

    first: str
    second: str
    diseases: tuple[DiseaseDifference, ...]
    macro: Estimate


@dataclass(frozen=True)
class Comparison:
    """Networks on the same images in the same order.

    Attributes:
        figures: figures of the networks, in the same order.
        pairs: all pairs of networks.
        by_part: each network's figures of examinations and images by body part; empty if no part is
            known.
    """

    networks: tuple[Network, ...]
    figures: tuple[dict[str, Sampled], ...]
    pairs: tuple[Pair, ...]
    by_part: tuple[Levels, ...]

    @property
    def images(self) -> ScoredImages:
        """The first network's images: ids, patients and labels are the same for all."""
        return self.networks[0].images


def read_network(name: str, run: Path) -> Network:
    """Read a run folder of cxrloc train-gate, with all folds or one split.

    Raises:
        FileNotFoundError, ValueError: if it is missing, unfinished or of another version.
    """
    folder = RunFolder(run)
    images = read_scored_images(folder.out_of_fold)
    validation_files = [folder.fold(fold).validation for fold in np.unique(images.folds)]
    complete = all(path.is_file() for path in validation_files)
    return Network(
        name, images, tuple(map(read_scored_images, validation_files)) if complete else ()
    )


def ensemble(networks: Sequence[Network]) -> Network:
    """The mean of several networks' probabilities, image by image.

    It gets thresholds if all networks have the same folds, kept their validation images and target
    the same sensitivity: they are then chosen on the mean probabilities of those images.
    """
    members = tuple(network.name for network in networks)
    images = mean_of([network.images for network in networks])
    whole = Network(f"mean of {', '.join(members)}", images, members=members)
    if not _same_folds(networks):
        return whole
    by_fold = zip(*(network.validation for network in networks), strict=True)
    validation = tuple(mean_of(parts) for parts in by_fold)
    sensitivity = networks[0].images.sensitivity
    return replace(
        whole, images=with_thresholds(images, validation, sensitivity), validation=validation
    )


def compare_networks(networks: Sequence[Network], *, replicates: int, seed: int) -> Comparison:
    """Compute the figures of each network and the differences of all pairs.

    Args:
        networks: with the same images, patients, labels and diseases.
        replicates, seed: parameters of the patient bootstrap; all networks share its resamples.

    Raises:
        ValueError: if these are not the same, stating the difference.
    """
    first = networks[0]
    for other in networks[1:]:
        check_same_images(first, other)
    ordered = tuple(replace(n, images=in_order_of(n.images, first.images)) for n in networks)
    figures = tuple(sample_figures(n.images, replicates, seed) for n in ordered)
    pairs = combinations(zip(ordered, figures, strict=True), 2)
    by_part: list[Levels] = [
        by_level(n.images, None, replicates, seed) if n.images.body_parts else {} for n in ordered
    ]
    return Comparison(ordered, figures, tuple(_pair(a, b) for a, b in pairs), tuple(by_part))


def check_same_images(first: Network, other: Network) -> None:
    """Refuse networks that were not scored on the same images.

    Raises:
        ValueError: naming the first diseases, images, patients or labels that differ.
    """
    a, b = first.images, other.images
    pair = f"{first.name} and {other.name}"
    if a.diseases != b.diseases:
        raise ValueError(f"{pair} differ in diseases: {list(a.diseases)} and {list(b.diseases)}")
    alone = [sorted(set(x.image_ids) - set(y.image_ids)) for x, y in ((a, b), (b, a))]
    for name, images in zip((first.name, other.name), alone, strict=True):
        if images:
            raise ValueError(
                f"{pair} were not scored on the same images: {len(images)} images only in {name}, "
                f"for example {images[0]}; expected runs over all folds of the same prepared folder"
            )
    b = in_order_of(b, a)
    same = (a.labels == b.labels) | (np.isnan(a.labels) & np.isnan(b.labels))
    same[np.array(a.patient_ids) != np.array(b.patient_ids)] = False
    if not same.all():
        image, disease = np.argwhere(~same)[0]
        example = f"{a.image_ids[image]} ({a.diseases[disease]})"
        raise ValueError(
            f"{pair} have different patients or labels on {int((~same).any(axis=1).sum())} images, "
            f"for example {example}; expected the same prepared folder"
        )


def _pair(
    first: tuple[Network, dict[str, Sampled]], second: tuple[Network, dict[str, Sampled]]
) -> Pair:
    (a, a_figures), (b, b_figures) = first, second
    difference = a_figures["auc"] - b_figures["auc"]
    columns = zip(a.images.labels.T, a.images.scores.T, b.images.scores.T, strict=True)
    tests = [delong_test(*column) for column in columns]
    rows = zip(
        a.images.diseases, difference.estimates, tests, holm([t.p for t in tests]), strict=True
    )
    diseases = tuple(DiseaseDifference(*row) for row in rows)
    return Pair(a.name, b.name, diseases, difference.macro)


def _same_folds(networks: Sequence[Network]) -> bool:
    first = networks[0]
    return all(
        bool(n.validation)
        and n.images.sensitivity == first.images.sensitivity
        and np.array_equal(in_order_of(n.images, first.images).folds, first.images.folds)
        and [set(p.image_ids) for p in n.validation] == [set(p.image_ids) for p in first.validation]
        for n in networks
    )
