"""The boxes of the tables as COCO files with scores, one per localizer, as `compare` takes them.

OUT/coco_results/NAME.json is a COCO dict: images, categories, and annotations with scores. Its ids
mean its own images and categories, so that `compare` finds those of the ground truth by their names
and holds the frames to each other. A localizer without any box has an empty list of results, since
a dict without scores would be taken for a ground truth. Written part by part, never all in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile
from typing import IO, Any

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.readers.loose_images import result_stem
from cxrloc.localization.diagnosis.tables.parts import read_part
from cxrloc.localization.diagnosis.tables.rows import ImageRows

COCO_RESULTS = "coco_results"


def write_coco_results(
    storage: Storage, parts: int, localizers: Sequence[str], manifest: Mapping[str, Any]
) -> dict[str, int]:
    """Write the file of each localizer from the finished tables; returns their boxes' numbers."""
    names: dict[str, int] = {}
    several: set[str] = set()
    common: list[str] | None = None  # folders that all images are in
    boxes = dict.fromkeys(localizers, 0)
    for image in _images(storage, parts):
        first = image.findings[0]
        if first["result"] != result_stem(first["image"]):
            several.add(first["image"])
        folders = first["path"].split("/")[:-1]
        common = folders if common is None else _begin(common, folders)
        for finding in image.findings if first["failure"] is None else ():
            names.setdefault(finding["disease"], len(names) + 1)
        for box in image.boxes:
            boxes[box["localizer"]] += 1
    for localizer, count in boxes.items():
        with storage.whole_file(f"{COCO_RESULTS}/{localizer}.json") as stream:
            if count:
                named = partial(_file_name, several, len(common or ()))
                _write(stream, localizer, names, named, storage, parts, manifest)
            else:
                stream.write(b"[]\n")
    return boxes


def delete_coco_results(storage: Storage) -> None:
    """Delete those of an earlier run: until all images are done, there are none."""
    storage.remove_temporaries(COCO_RESULTS)
    for name in storage.names(COCO_RESULTS):
        storage.delete(f"{COCO_RESULTS}/{name}")


def _write(
    stream: IO[bytes],
    localizer: str,
    names: Mapping[str, int],
    named: Callable[[Mapping[str, Any]], str],
    storage: Storage,
    parts: int,
    manifest: Mapping[str, Any],
) -> None:
    info = {"description": f"Boxes of {localizer}. {RESEARCH_USE}.", "cxrloc": manifest}
    categories = [{"id": number, "name": name} for name, number in names.items()]
    head = {"info": info, "licenses": [], "categories": categories}
    stream.write(json.dumps(head)[:-1].encode() + b',\n"images": [\n')
    _write_list(stream, _image_entries(_images(storage, parts), named))
    stream.write(b'],\n"annotations": [\n')
    _write_list(stream, _box_entries(_images(storage, parts), localizer, names))
    stream.write(b"]}\n")


def _images(storage: Storage, parts: int) -> Iterator[ImageRows]:
    for number in range(parts):
        rows = read_part(storage, number)
        if rows is None:
            raise OSError(
                f"{storage.url}: part {number} of the tables is gone or damaged; start again"
            )
        yield from rows


def _file_name(several: set[str], common: int, row: Mapping[str, Any]) -> str:
    """The name of an image or, where several have it, the path below what is common to all."""
    if row["image"] not in several:
        return str(row["image"])
    return "/".join(row["path"].split("/")[common:])


def _begin(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """The words with which both begin."""
    pairs = zip(first, second, strict=False)
    return [word for word, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]


def _image_entries(
    images: Iterable[ImageRows], named: Callable[[Mapping[str, Any]], str]
) -> Iterator[dict[str, Any]]:
    """Every image with a prediction."""
    for number, image in enumerate(images, start=1):
        first = image.findings[0]
        if first["failure"] is None:
            size = {"width": first["width"], "height": first["height"]}
            yield {"id": number, "file_name": named(first), **size}


def _box_entries(
    images: Iterable[ImageRows], localizer: str, names: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    count = 0
    for number, image in enumerate(images, start=1):
        for box in image.boxes:
            if box["localizer"] != localizer:
                continue
            count += 1
            first = image.findings[0]
            entry = {"id": count, "image_id": number, "category_id": names[box["disease"]]}
            yield entry | _shape(box, (first["height"], first["width"]))


def _shape(box: Mapping[str, Any], size_hw: Sequence[int]) -> dict[str, Any]:
    bbox = [box[side] for side in ("x", "y", "width", "height")]
    shape = {"bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": 0, "score": box["score"]}
    if box["mask"] is not None:
        shape["segmentation"] = {"size": list(size_hw), "counts": box["mask"]}
    return shape


def _write_list(stream: IO[bytes], entries: Iterable[Mapping[str, Any]]) -> None:
    for place, entry in enumerate(entries):
        stream.write((b",\n" if place else b"") + json.dumps(entry, allow_nan=False).encode())
    stream.write(b"\n")
