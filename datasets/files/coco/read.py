"""Make a COCO ground truth of any tool ours, with one function.

    foreign = read_coco(Path("instances_default.json"))
    foreign.coco["annotations"][0]["bbox"]  # x, y, width, height in pixels, inside the image
    foreign.notes                           # what was changed or doubted, in sentences

What is accepted:

`id`, `image_id`, `category_id`: whole numbers, or texts; 3, 3.0 and "3" are one id. Annotation
  ids may be missing, 0 or repeated: annotations are numbered anew. Image and category ids that are
  texts or negative become numbers; results files may go on using those of the file.
`bbox`: x, y, width, height in pixels; or missing, with a `segmentation`: polygons, run lengths,
  compressed or not. Boxes that reach over the border are cut off there, as predictions are; one
  wholly outside is refused, as are shares of the image (0 to 1) and two corners.
`area`, `iscrowd`, `segmentation` may be missing, null, empty or text.
`width` and `height` of every image: whole numbers, also as text.
`file_name`: with folders, with / or \\. Names before an export to Roboflow (`extra.name`,
  `a_png.rf.HASH.jpg`) or Label Studio (`HASH-a.png`) count, too.
`categories`: parents of others and `background` are left out if nothing is annotated as them.

Our own files pass unchanged. An annotation that repeats another one exactly counts once. Each
annotation that CVAT painted is marked as a crowd there; it counts as one finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrloc.datasets.files.coco.annotations import our_annotations
from cxrloc.datasets.files.coco.categories import Categories, our_categories
from cxrloc.datasets.files.coco.images import SizeOf, our_images
from cxrloc.datasets.files.coco.values import id_key, shown
from cxrloc.datasets.files.parse import read_json
from cxrloc.datasets.labels.map import LabelMap

LEFT_OUT = "left_out_categories"  # in `info`: [id, name] of categories that are no disease
NOTES = "reading_notes"  # in `info`: what was changed when another tool's file was read
NOT_ON_DISK = "not_on_disk"  # in `info`: boxes that a prepared folder lacks
_OURS = frozenset({LEFT_OUT, NOTES, NOT_ON_DISK})  # of a file that was read, they are not believed


@dataclass(frozen=True)
class ForeignCoco:
    """A COCO ground truth as ours are.

    Attributes:
        coco: images, annotations and categories with whole ids; extra keys stay. Where an id or a
            name was changed, that of the file is in `source_id` of an image and in `sources` of a
            category.
        notes: what was changed or is doubtful, as sentences for the report; those that begin with
            CHECK say that the file may mean something else.
    """

    coco: dict[str, Any] = field(repr=False)
    notes: tuple[str, ...] = ()


def read_coco(
    path: Path, labels: LabelMap | None = None, size_of: SizeOf | None = None
) -> ForeignCoco:
    """Read the COCO ground truth of any tool.

    Args:
        labels: renames, merges and leaves out categories; None keeps their names.
        size_of: file name -> (height, width) of images for which the file has none.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: naming file and entry, for what cannot be read or would be scored wrongly.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no COCO ground truth {path}; cxrloc prepare writes ground_truth.json"
        )
    return our_coco(read_json(path), str(path), labels, size_of)


def our_coco(
    document: Any, where: str, labels: LabelMap | None = None, size_of: SizeOf | None = None
) -> ForeignCoco:
    """Like `read_coco`, from parsed JSON; `where` begins the messages."""
    if not isinstance(document, dict):
        raise ValueError(
            f"{where} holds a JSON {type(document).__name__}, expected an object with images, "
            "annotations and categories (is it a results file?)"
        )
    for part in ("images", "annotations", "categories"):
        if not isinstance(document.get(part), list):
            raise ValueError(
                f"{where}: missing list {part!r}; expected images, annotations, categories"
            )
    try:
        return _our_coco(document, where, labels, size_of)
    except RecursionError as error:
        raise ValueError(f"{where}: lists nested too deeply; expected a COCO file") from error


def _our_coco(
    document: Mapping[str, Any], where: str, labels: LabelMap | None, size_of: SizeOf | None
) -> ForeignCoco:
    images = our_images(document["images"], where, size_of)
    used = {id_key(a.get("category_id")) for a in document["annotations"] if isinstance(a, dict)}
    categories = our_categories(document["categories"], used, labels, where)
    annotations = our_annotations(document["annotations"], images, categories, where)
    for image in images.entries:
        _our_names(image, categories, labels, where)
    coco = {
        **document,
        "images": images.entries,
        "annotations": annotations.entries,
        "categories": categories.entries,
    }
    if "info" in document or categories.left_out:
        info = document.get("info")
        kept = {k: v for k, v in info.items() if k not in _OURS} if isinstance(info, dict) else {}
        coco["info"] = kept | ({LEFT_OUT: categories.left_out} if categories.left_out else {})
    return ForeignCoco(coco, (*images.notes, *categories.notes, *annotations.notes))


def _our_names(
    image: dict[str, Any], categories: Categories, labels: LabelMap | None, where: str
) -> None:
    """Make the categories of an image's labels ours."""
    here = f"{where}: image {shown(image['id'])}"
    if image.get("not_exhaustive_category_ids"):
        keys = [id_key(value) for value in image["not_exhaustive_category_ids"]]
        for key, value in zip(keys, image["not_exhaustive_category_ids"], strict=True):
            if key is None or key not in categories.number_of:
                raise ValueError(
                    f"{here} has {shown(value)} in not_exhaustive_category_ids, which the file "
                    "does not list"
                )
        ours = [categories.number_of[key] for key in keys if key is not None]
        image["not_exhaustive_category_ids"] = [number for number in ours if number is not None]
    if labels is not None and image.get("labels"):
        names = [labels.disease(str(name), here) for name in image["labels"]]
        image["labels"] = list(dict.fromkeys(name for name in names if name is not None))
