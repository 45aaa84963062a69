"""Pascal VOC's XML files as LabelImg, CVAT, Label Studio and Roboflow write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cxrloc.datasets.radiograph import Box
from cxrloc.datasets.readers.annotations import voc

Folder = Callable[..., Path]
BOX = ("Effusion", (80, 30, 120, 70))
EFFUSION = Box("Effusion", (80, 30, 120, 70))


def xml(
    name: str = "a.png",
    *objects: tuple[str, Sequence[float]],
    size: tuple[int, int] | None = (200, 100),
    inside: str = "",
) -> str:
    entries = "".join(
        f"<object><name>{label}</name><pose>Unspecified</pose><difficult>0</difficult>{inside}"
        f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
        "</object>"
        for label, (x1, y1, x2, y2) in objects
    )
    frame = (
        f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else "<size/>"
    )
    return f"<annotation><filename>{name}</filename>{frame}{entries}</annotation>"


@pytest.mark.parametrize(
    ("image", "label", "text"),
    [
        ("JPEGImages/a.png", "Annotations/a.xml", xml("a.png", BOX)),  # LabelImg, CVAT
        ("train/a.rf.0a1b2c.jpg", "train/a.rf.0a1b2c.xml", xml("a.rf.0a1b2c.jpg", BOX)),  # Roboflow
        ("images/a.png", "Annotations/0a1b2c3d-a.xml", xml("0a1b2c3d-a.png", BOX)),  # Label Studio
        ("a.png", "a.xml", xml(r"C:\scans\renamed.png", BOX)),  # the XML file's stem counts
        ("a.png", "Annotations/1.xml", xml("a.png", BOX)),
        ("a.png", "a.xml", xml("a.png", BOX, size=None)),
        ("a.png", "a.xml", xml("a.png", BOX, size=(0, 0))),
    ],
)
def test_each_layout_of_the_tools_is_found_by_itself(
    folder: Folder, image: str, label: str, text: str
) -> None:
    index = voc.index(folder(image, {label: text}), strict=True)
    assert [(r.path and r.path.name, r.boxes) for r in index.radiographs] == [
        (Path(image).name, (EFFUSION,))
    ]


def test_boxes_of_an_original_frame_stay_in_it_beside_resized_images(folder: Folder) -> None:
    large = xml("a.png", ("Effusion", (800, 300, 1200, 700)), size=(2000, 1000))
    index = voc.index(folder("a.png", "b.png", {"a.xml": large, "b.xml": xml("b.png", BOX)}))
    a, b = index.radiographs
    assert (a.size_hw, a.boxes) == ((1000, 2000), (Box("Effusion", (800, 300, 1200, 700)),))
    assert (b.size_hw, b.boxes) == ((100, 200), (EFFUSION,))
    (kind,) = index.warnings
    assert kind.startswith("images of another size than their annotations state")


def test_a_frame_of_another_shape_is_refused(folder: Folder) -> None:
    root = folder("a.png", {"a.xml": xml("a.png", BOX, size=(2000, 1030))})
    with pytest.raises(ValueError, match=r"a.png is 2000 x 1030 in the annotations and 200 x 100"):
        voc.index(root)
    turned = folder({"a.xml": xml("a.png", BOX, size=(100, 200))})
    with pytest.raises(ValueError, match="was it turned since, by its EXIF orientation"):
        voc.index(turned)


def test_the_lists_of_image_sets_are_the_parts(folder: Folder) -> None:
    files = {f"Annotations/{n}.xml": xml(f"{n}.png", BOX) for n in "abc"}
    lists = {
        f"ImageSets/Main/{n}.txt": t for n, t in (("train", "a\n"), ("val", "b"), ("test", "c"))
    }
    root = folder(*(f"JPEGImages/{n}.png" for n in "abc"), files, lists)
    folder({"ImageSets/Main/trainval.txt": "a\nb\n", "ImageSets/Main/Mass_train.txt": "a -1\n"})
    index = voc.index(root, strict=True)
    assert index.official == {"a.png": "train_val", "b.png": "train_val", "c.png": "test"}


def test_roboflows_polygon_is_an_outline_and_a_difficult_object_is_counted(folder: Folder) -> None:
    points = "".join(
        f"<{axis}{n}>{v}</{axis}{n}>"
        for n, point in enumerate(((80, 30), (120, 30), (100, 70)), start=1)
        for axis, v in zip("xy", point, strict=True)
    )
    inside = f"<polygon>{points}</polygon>"
    text = xml("a.png", BOX, inside=inside).replace("<difficult>0", "<difficult>1")
    index = voc.index(folder("a.png", {"a.xml": text}))
    (outline,) = index.radiographs[0].boxes[0].polygons
    assert list(outline) == [80, 30, 120, 30, 100, 70]
    assert dict(index.warnings) == {"objects marked difficult, kept": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", r"a.xml is not XML: "),
        ("<annotations/>", r"expected <annotation>, got <annotations>; .*CVAT's own format"),
        (xml("a.png", BOX).replace("bndbox", "robndbox"), r"object 1 \(Effusion\) has no <bndbox>"),
        (xml("a.png", ("", BOX[1])), "a.xml, object 1 has no <name>"),
        (xml("a.png", ("Mass", (120, 30, 80, 70))), "object 1: Mass: expected a box with left <"),
        (xml("a.png", ("Mass", (300, 30, 380, 70))), r"object 1: Mass: the box .* lies outside"),
        (xml("a.png", BOX).replace("<xmin>80", "<xmin>8o"), "'8o' is no number; expected a number"),
        (xml("b.png", BOX), r"<filename> is b.png, but an image a is there, too"),
        (xml("a.png", ("No finding", BOX[1])), "a box of No finding, which means no finding"),
    ],
)
def test_a_faulty_file_is_named(folder: Folder, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        voc.index(folder("a.png", "b.png", {"a.xml": text}))
