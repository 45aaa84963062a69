"""The file formats, from the docstrings of the modules that read and write them."""

from __future__ import annotations

from generate.markdown import from_docstring, module_docstring

_FORMATS = {
    "Data sets that `prepare` reads": {
        "NIH ChestX-ray14": "datasets.readers.nih",
        "CheXpert": "datasets.readers.chexpert",
        "MURA": "datasets.readers.mura",
        "COCO": "datasets.readers.annotations.coco",
        "YOLO": "datasets.readers.annotations.yolo",
        "Pascal VOC": "datasets.readers.annotations.voc",
        "Tables of boxes": "datasets.readers.annotations.csv",
        "Images for any of these": "datasets.readers.annotations.matching.to_index",
        "ChestX-Det and ChestX-Det10": "datasets.readers.box_sets.chest_x_det",
        "RSNA pneumonia": "datasets.readers.box_sets.rsna",
        "VinDr-CXR and VinBigData": "datasets.readers.box_sets.vindr",
        "SIIM-ACR pneumothorax": "datasets.readers.box_sets.siim",
        "CheXlocalize": "datasets.readers.box_sets.chexlocalize",
        "NIH with other sets' boxes": "datasets.readers.box_sets.nih_with_boxes",
    },
    "Data for training": {
        "The prepared folder": "datasets.prepared.folder",
        "The ground truth": "datasets.prepared.coco",
        "A ground truth of another tool": "datasets.files.coco.read",
        "Shards: the folder": "datasets.shards.write",
        "Shards: one file": "datasets.shards.format",
    },
    "Predictions": {
        "Results files": "localization.predictions.results_file",
        "Heat maps": "localization.cam.heat_maps",
        "Where predictions come from": "datasets.provenance.sidecar",
        "Lists of training images": "datasets.provenance.image_lists",
        "A prediction as JSON": "localization.diagnosis.to_json",
        "Predictions of examinations": "localization.diagnosis.examination_table",
        "For correction: CVAT and FiftyOne": "localization.predictions.exports.coco",
        "For correction: YOLO": "localization.predictions.exports.yolo",
        "For correction: Label Studio": "localization.predictions.exports.label_studio",
    },
    "Models": {
        "Bundles": "classification.bundle.file",
        "Manifests": "datasets.files.manifest",
    },
}


def file_formats_page() -> str:
    """Every format that people or other programs read or write."""
    parts = [
        "# File formats",
        "Boxes are pixels of the original image: `x, y, width, height` in COCO files, two corners "
        "everywhere else. Nothing is read or written with pickle. What `compare` needs of a file "
        "that another model wrote: [Compare your own model](../tutorials/compare_your_model.md).",
    ]
    for heading, formats in _FORMATS.items():
        parts.append(f"## {heading}")
        for title, module in formats.items():
            parts += [f"### {title}", from_docstring(module_docstring(module))]
            parts.append(f"Code: `{module.replace('.', '/')}.py`.")
    return "\n\n".join(parts)
