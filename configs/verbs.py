"""The verbs of the `cxrloc` command: what each is for, and the script whose `main` it calls.

Help, dispatch, tests and the reference pages read this one table. Nothing else is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["First steps", "My own data", "Train", "Measure", "Use", "Dig deeper"]


@dataclass(frozen=True)
class Verb:
    """One verb of `cxrloc`.

    Attributes:
        name: as it is typed.
        script: the module below `cxrloc.tools` whose `main` it calls.
        wish: what the reader wants to do, after "I want to ...".
        group: heading that it stands under.
    """

    name: str
    script: str
    wish: str
    group: Group

    @property
    def module(self) -> str:
        """The script as an importable module."""
        return f"cxrloc.tools.{self.script}"

    @property
    def path(self) -> str:
        """The script below the repository."""
        return f"tools/{self.script.replace('.', '/')}.py"


VERBS: tuple[Verb, ...] = (
    Verb(
        "demo", "experiments.pipelines.demo", "see everything work on drawn images", "First steps"
    ),
    Verb("make-phantom", "data.make_phantom", "draw practice images with boxes", "First steps"),
    Verb("prepare", "prepare_data", "check a data set, split it by patient", "My own data"),
    Verb("find-markers", "data.find_markers", "find letters burnt into images", "My own data"),
    Verb("audit-leakage", "data.audit_leakage", "catch training on test patients", "My own data"),
    Verb(
        "convert-chexlocalize",
        "data.convert_chexlocalize",
        "turn CheXlocalize's masks into boxes",
        "My own data",
    ),
    Verb("build-shards", "data.build_shards", "pack a large data set for training", "My own data"),
    Verb("train-gate", "train_classifier", "train the classifier, the gate", "Train"),
    Verb("train-maskrcnn", "train_maskrcnn", "train the detector, Mask R-CNN", "Train"),
    Verb("train-on-spark", "experiments.train_on_spark", "train the gate on Spark", "Train"),
    Verb("nih-full", "experiments.pipelines.nih_full", "train and compare on all of NIH", "Train"),
    Verb("localize", "localize", "box the images of a data set, out of fold", "Measure"),
    Verb("fuse", "experiments.fuse_localizers", "make one localizer of several", "Measure"),
    Verb("compare", "compare_localizers", "learn which localizer is better", "Measure"),
    Verb(
        "compare-networks",
        "experiments.compare_networks",
        "learn which classifier is better",
        "Measure",
    ),
    Verb("score-images", "experiments.score_images", "score gates on labelled images", "Measure"),
    Verb("predict", "predict", "classify and box my images", "Use"),
    Verb("serve", "serve", "offer a web page and an HTTP API", "Use"),
    Verb("node", "server.dicom_node.node", "answer a PACS or modality by DICOM", "Use"),
    Verb("send-dicom", "data.send_dicom", "send DICOM results to an archive", "Use"),
    Verb("quantize", "experiments.models.quantize", "make a gate faster on this CPU (INT8)", "Use"),
    Verb("export", "experiments.models.export_model", "take a model elsewhere (ONNX)", "Use"),
    Verb("card", "experiments.models.model_card", "say what a model is and learnt from", "Use"),
    Verb("tune-cam", "experiments.tune_cam", "tune how heat maps become boxes", "Dig deeper"),
    Verb(
        "check-shortcuts",
        "experiments.check_shortcuts",
        "see whether a gate looks at burnt-in text",
        "Dig deeper",
    ),
    Verb(
        "compare-runtimes",
        "experiments.compare_runtimes",
        "see what faster runtimes change",
        "Dig deeper",
    ),
    Verb(
        "fit-chest-check",
        "data.fit_chest_check",
        "see which images are taken for chests",
        "Dig deeper",
    ),
    Verb("benchmark", "benchmark", "measure speed against other ways", "Dig deeper"),
)
