"""Read boxes in the form of Pascal VOC: one XML file per image.

    root/Annotations/*.xml, root/train/*.xml ...      or the file or folder named by --annotations
    root/JPEGImages/*.jpg ...                         images anywhere below
    root/ImageSets/Main/train.txt, val.txt, test.txt  the parts (optional)

LabelImg, CVAT, Label Studio and Roboflow write it. An image belongs to the XML file of its stem; if
there is none, `<filename>` counts. `<size>` is the frame of the boxes: the image may be a resized
copy of that shape (TBX11K). Coordinates are taken as written, although some tools count pixels from
1. An XML file without objects says that the image was looked at; images without one are left out.

Error: XML of another kind; an object without a name or `<bndbox>`; a coordinate that is no number;
    a file whose stem and `<filename>` are two different images.
Note, counted: objects marked difficult (kept).
`matching/to_index.py` says how other faults are treated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from cxrloc.datasets.files.parse import read_text
from cxrloc.datasets.readers.annotations.matching.annotated import (
    AnnotatedImage,
    Annotations,
    DrawnBox,
)
from cxrloc.datasets.readers.annotations.matching.files import clean_name, image_files
from cxrloc.datasets.readers.annotations.matching.parts import part_of_word
from cxrloc.datasets.readers.annotations.matching.to_index import Choices, to_index
from cxrloc.datasets.readers.annotations.where import below, given_files
from cxrloc.datasets.readers.find_images import stem_of
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings

_BEGIN = re.compile(rb"<annotation[\s>/]")
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def index(
    root: Path,
    *,
    label_file: Path | None = None,
    strict: bool = False,
    annotations: str = "",
    labels: str = "",
    patient: str = "",
    unboxed: str = "",
) -> DatasetIndex:
    """Index a folder of images with XML files; the docstrings say how faults are treated.

    Args:
        label_file: another name of `annotations`.
        annotations: the XML file, or a folder with them.
        labels, patient, unboxed: see `Choices`.
    """
    warnings, choices = ReaderWarnings(strict), Choices.of(labels, patient, unboxed)
    paths = image_files(root.absolute(), warnings)
    asked = Path(annotations) if annotations else label_file
    files = _voc_files(root) if asked is None else given_files(root, asked, ".xml")
    if not files:
        raise FileNotFoundError(
            f"no .xml file below {root}; expected one per image, in Annotations/ or beside the "
            "images, or their folder as --annotations"
        )
    stems = {stem_of(path.name).casefold() for path in paths}
    parts, lists = _parts(files)
    difficult: list[str] = []
    images = [_image(path, stems, parts, difficult) for path in files]
    warnings.note("objects marked difficult, kept", difficult)
    names = tuple(dict.fromkeys(box.name for image in images for box in image.boxes))
    found = Annotations(tuple(images), names, (*files, *lists))
    return to_index(root, found, choices, warnings, paths)


def _voc_files(root: Path) -> list[Path]:
    """The XML files that begin as VOC's do; all of them if none does, to name the fault."""
    files = below(root, ".xml")
    return [path for path in files if _BEGIN.search(_first_bytes(path))] or files


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1000)


def _image(
    path: Path, stems: set[str], parts: Mapping[str, str], difficult: list[str]
) -> AnnotatedImage:
    root = _parse(path)
    size = [_text(root, f"size/{side}") for side in ("width", "height")]
    boxes = tuple(_boxes(root, path, difficult))
    return AnnotatedImage(
        name=_name(path, _text(root, "filename"), stems),
        where=str(path),
        boxes=boxes,
        frame_wh=(_number(size[0], path), _number(size[1], path)) if all(size) else None,
        part=parts.get(path.stem, ""),
        folder=path.parent,
    )


def _parse(path: Path) -> Element:
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not XML: {error}") from error
    if root.tag == "annotation":
        return root
    hint = (
        "it seems to be CVAT's own format: export as COCO 1.0 or Pascal VOC 1.1"
        if root.tag == "annotations"
        else "name the folder of the annotations with --annotations"
    )
    raise ValueError(f"{path}: expected <annotation>, got <{root.tag}>; {hint}")


def _name(path: Path, written: str, stems: set[str]) -> str:
    """The image's name: by the XML file's own stem, else by `<filename>`."""
    name = clean_name(written)
    last = name.rpartition("/")[2]
    if not last or stem_of(last).casefold() == path.stem.casefold():
        return name or path.stem
    ours, theirs = path.stem.casefold() in stems, stem_of(last).casefold() in stems
    if ours and theirs:
        raise ValueError(
            f"{path}: <filename> is {written}, but an image {path.stem} is there, too; correct "
            "<filename> or the name of this file"
        )
    return name if theirs else path.stem


def _boxes(root: Element, path: Path, difficult: list[str]) -> Iterator[DrawnBox]:
    for number, entry in enumerate(root.iterfind("object"), start=1):
        name = _text(entry, "name")
        where = f"{path}, object {number}"
        if not name:
            raise ValueError(f"{where} has no <name>")
        sides = [_text(entry, f"bndbox/{side}") for side in _SIDES]
        if not all(sides):
            raise ValueError(
                f"{where} ({name}) has no <bndbox> with {', '.join(_SIDES)}; rotated boxes and "
                "polygons alone are not read"
            )
        x1, y1, x2, y2 = (_number(text, f"{where} ({name})") for text in sides)
        if _text(entry, "difficult") == "1":
            difficult.append(f"{path.stem} {name}")
        yield DrawnBox(name, (x1, y1, x2, y2), where, _outlines(entry, where))


def _outlines(entry: Element, where: str) -> tuple[tuple[float, ...], ...]:
    """Roboflow's `<polygon>` with x1, y1, x2, y2, ... of at least three points."""
    polygon = entry.find("polygon")
    points: list[float] = []
    for number in range(1, 1 + (0 if polygon is None else len(polygon))):
        x, y = (_text(entry, f"polygon/{axis}{number}") for axis in "xy")
        if not (x and y):
            break
        points += [_number(x, where), _number(y, where)]
    return (tuple(points),) if len(points) >= 6 else ()


def _text(entry: Element, path: str) -> str:
    return (entry.findtext(path) or "").strip()


def _number(text: str, where: Path | str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{where}: {text!r} is no number; expected a number of pixels") from None


def _parts(files: Sequence[Path]) -> tuple[dict[str, str], list[Path]]:
    """Stem -> part by the lists in ImageSets/Main, and these lists."""
    folders = dict.fromkeys(path.parent.parent / "ImageSets" / "Main" for path in files)
    lists = [path for f in folders if f.is_dir() for path in below(f, ".txt")]
    lists = [path for path in lists if part_of_word(path.stem) and path.stem != "trainval"]
    parts: dict[str, str] = {}
    for path in lists:
        for line in read_text(path).splitlines():
            stem = stem_of(clean_name(line.split()[0]).rpartition("/")[2]) if line.strip() else ""
            if stem and parts.setdefault(stem, part_of_word(path.stem)) != part_of_word(path.stem):
                raise ValueError(f"{path}: {stem} is in {parts[stem]}, too; keep one of them")
    return parts, lists
