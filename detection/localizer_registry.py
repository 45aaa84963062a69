"""List all localizers by name. To add one, define it in a file and add a line to `LOCALIZERS`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cxrloc.classification.run_folder import CLASSIFIER
from cxrloc.detection.run_config import MASK_RCNN
from cxrloc.localization.cam.boxes import DEEP_MEDIA, WANG
from cxrloc.localization.cam.rules import SizedRule
from cxrloc.localization.localizer import Localizer

ALIGNED = "grad_cam_aligned"  # its maps are placed where their cells look


@dataclass(frozen=True)
class LocalizerInputs:
    """Everything a localizer may be built from; each uses what it needs.

    Attributes:
        bundle: trained model (`.safetensors`), or what `cxrloc export` made of it (`.onnx`); the
            controls need none.
        ground_truth: COCO ground truth of the images to box. The controls take their boxes from it;
            maps give as many boxes of a disease as it has on one image at most.
        seed: seed of random localizers.
        device: `cpu`, `cuda` or `auto`.
        precision: `auto`, `fp32` or `bf16`.
        cam_rules: disease -> rule that replaces the published one, tuned on other folds' boxes.
        partners: further trained models of the localizer, whose boxes are fused with the bundle's.
        sizes: sides of the squares that a Mask R-CNN looks at, whose boxes are fused; none means
            the training's.
    """

    bundle: Path | None = None
    ground_truth: Mapping[str, Any] | None = None
    seed: int = 0
    device: str = "cpu"
    precision: str = "auto"
    cam_rules: Mapping[str, SizedRule] | None = None
    partners: tuple[Path, ...] = ()
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class LocalizerEntry:
    """One line of the registry.

    Attributes:
        build: makes the localizer; imports heavy modules itself, so that listing names is fast.
        bundle_file: model file to look for in `RUN/fold0`, `RUN/fold1`, ...; None for a control.
        has_maps: its boxes come from heat maps, which it also returns.
        takes_rules: `cam_rules`, if given, make its boxes.
        probabilities: its maps hold probabilities.
    """

    build: Callable[[LocalizerInputs], Localizer]
    bundle_file: str | None = None
    has_maps: bool = False
    takes_rules: bool = False
    probabilities: bool = False


def build_localizer(name: str, inputs: LocalizerInputs) -> Localizer:
    """Build the localizer with this name.

    Raises:
        ValueError: for an unknown name (with a list of valid ones) or a missing input.
    """
    return localizer_entry(name).build(inputs)


def localizer_entry(name: str) -> LocalizerEntry:
    """Line of the registry, or a ValueError that lists the valid names."""
    if name not in LOCALIZERS:
        raise ValueError(f"unknown localizer {name!r}; expected one of {', '.join(LOCALIZERS)}")
    return LOCALIZERS[name]


def kind_of_maps(name: str) -> dict[str, bool]:
    """How the maps of a localizer are placed, and whether they hold probabilities."""
    return {"aligned": name == ALIGNED, "probabilities": localizer_entry(name).probabilities}


def _grad_cam(inputs: LocalizerInputs, name: str) -> Localizer:
    from cxrloc.classification.inference.any_gate import load_gate
    from cxrloc.localization.cam.localizer import GradCamLocalizer

    gate = load_gate(_bundle(inputs, name), inputs.device, inputs.precision)
    rule = WANG if name == "grad_cam_wang" else DEEP_MEDIA
    return GradCamLocalizer(
        gate,
        rule,
        name,
        aligned=name == ALIGNED,
        number=_most_boxes(inputs.ground_truth),
        rules=inputs.cam_rules,
    )


def _guided_cam(inputs: LocalizerInputs) -> Localizer:
    from cxrloc.classification.inference.any_gate import load_gate
    from cxrloc.localization.cam.guided import NAME, GuidedCamLocalizer

    gate = load_gate(_bundle(inputs, NAME), inputs.device, inputs.precision)
    number = _most_boxes(inputs.ground_truth)
    return GuidedCamLocalizer(gate, number=number, rules=inputs.cam_rules)


def _most_boxes(ground_truth: Mapping[str, Any] | None) -> int:
    """Boxes of one disease on one image at most; at least 1."""
    annotations = [] if ground_truth is None else ground_truth["annotations"]
    counts = Counter((a["image_id"], a["category_id"]) for a in annotations)
    return max(counts.values(), default=1)


def _grad_cam_entry(name: str, *, takes_rules: bool = True) -> LocalizerEntry:
    return LocalizerEntry(
        lambda inputs: _grad_cam(inputs, name),
        CLASSIFIER,
        has_maps=True,
        takes_rules=takes_rules,
    )


def _mask_rcnn(inputs: LocalizerInputs, name: str) -> Localizer:
    from cxrloc.detection.load_diagnoser import load_mask_rcnn

    bundles = (_bundle(inputs, name), *inputs.partners)
    box_from: Literal["box", "mask"] = "mask" if name == "mask_rcnn_mask_box" else "box"
    return load_mask_rcnn(bundles, inputs.device, inputs.precision, inputs.sizes, box_from)


def _control(inputs: LocalizerInputs, name: str) -> Localizer:
    from cxrloc.localization.evaluation.controls import CenterBox, ConstantBox, PriorBox, RandomMap
    from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco

    if inputs.ground_truth is None:
        raise ValueError(f"{name} needs the ground truth: its boxes come from the other patients")
    truth = ground_truth_from_coco(inputs.ground_truth)
    if name == "random_map":
        return RandomMap(inputs.seed, truth)
    boxes = {"prior_box": PriorBox, "constant_box": ConstantBox, "center_box": CenterBox}
    return boxes[name](truth)


def _bundle(inputs: LocalizerInputs, name: str) -> Path:
    if inputs.bundle is None:
        raise ValueError(
            f"{name} needs a trained model: pass its bundle (.safetensors), or what was exported "
            "(.onnx)"
        )
    return inputs.bundle


LOCALIZERS: dict[str, LocalizerEntry] = {
    "grad_cam": _grad_cam_entry("grad_cam"),
    "grad_cam_wang": _grad_cam_entry("grad_cam_wang", takes_rules=False),
    ALIGNED: _grad_cam_entry(ALIGNED),
    "guided_cam": LocalizerEntry(
        _guided_cam, CLASSIFIER, has_maps=True, takes_rules=True, probabilities=True
    ),
    "mask_rcnn": LocalizerEntry(lambda i: _mask_rcnn(i, "mask_rcnn"), MASK_RCNN),
    "mask_rcnn_mask_box": LocalizerEntry(lambda i: _mask_rcnn(i, "mask_rcnn_mask_box"), MASK_RCNN),
    "prior_box": LocalizerEntry(lambda i: _control(i, "prior_box")),
    "constant_box": LocalizerEntry(lambda i: _control(i, "constant_box")),
    "center_box": LocalizerEntry(lambda i: _control(i, "center_box")),
    "random_map": LocalizerEntry(lambda i: _control(i, "random_map")),
}
