"""The shortcut check: masses and areas known by hand, patients resampled, a section of the page."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from builders import evaluated
from cxrloc.classification.report.tables import Cell, TableRow, to_csv
from cxrloc.localization.analyses.shortcut.section import shortcut_check
from cxrloc.localization.analyses.shortcut.shortcut import (
    AREA,
    EXCESS,
    MASS,
    ImageRegions,
    image_regions,
    mass_shares,
    read_regions,
    shortcut_shares,
)
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.comparison_report.build import build_report
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.glossary import lookup
from cxrloc.localization.report.sections import Section


def regions(columns_marked: int = 1, columns_outside: int = 2) -> ImageRegions:
    """A frame of 4 x 4: markers in the first columns, air in the last ones."""
    shares = np.zeros((2, 4, 4), np.float32)
    shares[0, :, :columns_marked] = 1
    shares[1, :, 4 - columns_outside :] = 1
    return ImageRegions(shares, columns_marked > 0)


def heat(*columns: float) -> npt.NDArray[np.float32]:
    """A map of 4 x 4 cells, its columns of one value each."""
    return np.tile(np.array(columns, np.float32), (4, 1))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (heat(1, 0, 0, 0), [1, 0]),
        (heat(0, 1, 0, 0), [0, 0]),
        (heat(3, 0, 1, 0), [0.75, 0.25]),
        (heat(13, 10, 11, 10), [0.75, 0.25]),  # the least value is no mass
        (heat(-2, -8, -6, -8), [0.75, 0.25]),
    ],
)
def test_the_share_of_a_maps_mass_is_what_is_over_its_least_value(
    cells: npt.NDArray[np.float32], expected: list[float]
) -> None:
    assert mass_shares(cells, regions(), aligned=False) == pytest.approx(expected, abs=1e-6)


def test_a_map_that_shows_nothing_has_no_share_and_area_is_the_control() -> None:
    for nothing in (heat(2, 2, 2, 2), heat(np.nan, 0, 0, 1)):
        assert np.isnan(mass_shares(nothing, regions(), aligned=False)).all()
    assert regions().areas.tolist() == [0.25, 0.5]


def limb_image() -> npt.NDArray[np.uint8]:
    """A bright disc on black, an R beside it."""
    image = np.full((512, 512), 4, np.uint8)
    cv2.circle(image, (300, 256), 150, 150, -1)
    cv2.putText(image, "R", (30, 120), cv2.FONT_HERSHEY_SIMPLEX, 2.0, 240, 6)
    return image


def test_a_marker_beside_the_body_is_marker_alone() -> None:
    regions = image_regions(limb_image())
    assert regions.marked
    markers, outside = regions.shares
    assert markers.shape == (256, 256)
    assert markers[50, 20:30].max() == 1
    assert (markers + outside).max() <= 1
    body = math.pi * 153**2 / 512**2  # its border is true to some pixels
    assert 1 - regions.areas.sum() == pytest.approx(body, rel=0.04)


def test_images_that_are_not_there_or_damaged_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    cv2.imwrite(str(tmp_path / "good.png"), limb_image())
    paths = {name: tmp_path / f"{name}.png" for name in ("good", "bad")}
    assert list(read_regions(paths, ["good", "bad", "other", "good"])) == ["good"]


def maps_of(columns: dict[tuple[str, str], tuple[float, ...]], name: str = "cam") -> HeatMaps:
    return HeatMaps.of({p: heat(*c) for p, c in columns.items()}, name=name, aligned=False)


REGIONS_OF = {f"image{i}": regions() for i in range(4)} | {"clear": regions(0, 0)}
PATIENT_OF = {"image0": "a", "image1": "a", "image2": "b", "image3": "c", "clear": "d"}


def test_shares_count_what_is_left_out() -> None:
    maps = maps_of(
        {
            ("image0", "Mass"): (1, 0, 0, 0),
            ("image1", "Mass"): (0, 0, 0, 0),
            ("gone", "Mass"): (1, 0, 0, 0),
            ("clear", "Edema"): (1, 0, 0, 0),
        }
    )
    shares = shortcut_shares(maps, REGIONS_OF, PATIENT_OF)
    assert shares.pairs == (("clear", "Edema"), ("image0", "Mass"))
    assert shares.mass.tolist() == [[0, 0], [1, 0]]
    assert shares.area.tolist() == [[0, 0], [0.25, 0.5]]
    assert (shares.patient_ids, shares.marked.tolist()) == (("d", "a"), [False, True])
    assert (shares.empty, shares.unread, shares.diseases) == (1, 1, ("Edema", "Mass"))


def test_maps_of_no_image_have_no_shares() -> None:
    shares = shortcut_shares(maps_of({("gone", "Mass"): (1, 0, 0, 0)}), REGIONS_OF, PATIENT_OF)
    assert (shares.pairs, shares.mass.shape, shares.area.shape) == ((), (0, 2), (0, 2))
    assert (shares.empty, shares.unread) == (0, 1)


def section(*others: HeatMaps) -> Section:
    """One localizer that looks at markers alone, and one that never does."""
    looks = maps_of({(f"image{i}", "Mass"): (1, 0, 0, 0) for i in range(4)}, "looks")
    blind = maps_of({(f"image{i}", "Mass"): (0, 1, 0, 0) for i in range(3)}, "blind")
    maps = {heat_maps.name: heat_maps for heat_maps in (looks, blind, *others)}
    return shortcut_check(maps, REGIONS_OF, PATIENT_OF, resamples=200, seed=0)


def row(checked: Section, region: str, share: str, name: str) -> TableRow:
    lead = {"region": region, "share of": share, "localizer": name}
    return next(r for r in checked.tables[0].rows if r.lead == lead)


def macro(checked: Section, *wanted: str) -> tuple[float, float, float]:
    cell = row(checked, *wanted).cells["macro mean"]
    assert isinstance(cell, Cell)
    return cell.estimate.value, cell.estimate.low, cell.estimate.high


def test_the_table_holds_mass_control_and_difference_for_each_region() -> None:
    checked = section()
    assert macro(checked, "markers", MASS, "looks") == (100, 100, 100)
    assert macro(checked, "markers", AREA, "looks") == (25, 25, 25)
    assert macro(checked, "markers", EXCESS, "looks") == (75, 75, 75)
    assert macro(checked, "outside the body", EXCESS, "looks") == (-50, -50, -50)
    assert macro(checked, "markers", MASS, "blind minus looks") == (-100, -100, -100)
    assert row(checked, "markers", MASS, "looks").trail == {
        "maps": 4,
        "maps of marked images": 4,
        "patients": 3,
    }
    assert (
        "100.00 % of the mass on 25.00 % of the area is on markers (more" in checked.paragraphs[1]
    )
    assert "0.00 % of the mass on 25.00 % of the area is on markers (less" in checked.paragraphs[2]
    assert (
        "blind minus looks, percentage points of the mass: -100.000 [-100.000, -100.000] on"
        in (checked.paragraphs[3])
    )


def test_maps_of_images_without_markers_stand_beside_their_own_localizer() -> None:
    """Without letters the heat of two patients lies elsewhere, the third patient's stays."""
    pairs = [(f"image{i}", "Mass") for i in range(4)]  # image0 and image1 are of one patient
    bare = {p: heat(0, 1, 0, 0) for p in pairs[:3]} | {pairs[3]: heat(1, 0, 0, 0)}
    third = HeatMaps.of(
        {p: heat(1, 0, 0, 0) for p in pairs},
        name="third",
        aligned=False,
        without_markers=bare,
        removal="inpaint",
    )
    checked = section(third)
    name = "third, markers inpainted"
    assert macro(checked, "markers", MASS, name)[0] == 25
    assert macro(checked, "markers", MASS, f"{name} minus third")[0] == -75
    low, high = macro(checked, "markers", MASS, f"{name} minus third")[1:]
    assert low == -100  # a resample of the first two patients alone
    assert high > -75
    assert macro(checked, "markers", MASS, "third minus looks") == (0, 0, 0)
    names = {r.lead["localizer"] for r in checked.tables[0].rows}
    assert f"{name} minus looks" not in names
    assert "after removing their letters" in checked.paragraphs[0]
    assert "after removing their letters" not in section().paragraphs[0]


def test_a_disease_that_loses_heat_with_the_letters_is_named() -> None:
    """The macro mean may hide it."""
    pairs = [(f"image{i}", disease) for i in range(4) for disease in ("Edema", "Mass")]
    as_it_is = HeatMaps.of(
        {(image, d): heat(1, 2, 0, 0) for image, d in pairs},
        name="cam",
        aligned=False,
        without_markers={
            (image, d): heat(0, 1, 0, 0) if d == "Mass" else heat(1, 2, 0, 0) for image, d in pairs
        },
        removal="mask",
    )
    checked = shortcut_check({"cam": as_it_is}, REGIONS_OF, PATIENT_OF, resamples=200, seed=0)
    (sentence,) = (p for p in checked.paragraphs if p.startswith("cam, markers masked minus cam"))
    assert "2 comparisons: Mass -33.333 [-33.333, -33.333] on markers." in sentence
    assert "Edema" not in sentence


def test_heat_that_is_gone_with_the_letters_is_counted() -> None:
    pairs = [(f"image{i}", "Mass") for i in range(3)]
    as_it_is = HeatMaps.of(
        {p: heat(1, 0, 0, 0) for p in pairs},
        name="leak",
        aligned=False,
        without_markers={p: heat(0, 0, 0, 0) for p in pairs},
        removal="mask",
    )
    checked = shortcut_check({"leak": as_it_is}, REGIONS_OF, PATIENT_OF, resamples=20, seed=0)
    assert macro(checked, "markers", MASS, "leak") == (100, 100, 100)
    gone = "3 of the 3 maps of leak that show something show nothing without the letters."
    assert gone in checked.paragraphs
    assert checked.paragraphs[-1].startswith("leak, markers masked cannot be measured: no map")


def test_heat_that_comes_only_without_the_letters_is_measured_alone() -> None:
    as_it_is = HeatMaps.of(
        {("image0", "Mass"): heat(0, 0, 0, 0)},
        name="shy",
        aligned=False,
        without_markers={("image0", "Mass"): heat(0, 1, 0, 0)},
        removal="mask",
    )
    checked = shortcut_check({"shy": as_it_is}, REGIONS_OF, PATIENT_OF, resamples=20, seed=0)
    assert macro(checked, "markers", MASS, "shy, markers masked")[0] == 0
    assert checked.paragraphs[-1].startswith("shy cannot be measured: no map")
    assert not any("without the letters" in sentence for sentence in checked.paragraphs)


def test_maps_of_images_that_are_not_there_are_counted_in_words() -> None:
    far = maps_of({("image0", "Mass"): (1, 0, 0, 0), ("gone", "Mass"): (1, 0, 0, 0)}, "far")
    checked = shortcut_check({"far": far}, REGIONS_OF, PATIENT_OF, resamples=20, seed=0)
    sentence = "1 of the 2 maps of far are left out: their images are missing or unreadable."
    assert checked.paragraphs[-1] == sentence
    assert not any("left out" in paragraph for paragraph in section().paragraphs)


def test_a_localizer_without_a_map_to_measure_is_named_and_the_others_go_on() -> None:
    flat = maps_of({("image0", "Mass"): (2, 2, 2, 2)}, "flat")
    checked = section(flat)
    assert checked.paragraphs[:-1] == section().paragraphs
    assert checked.paragraphs[-1].startswith("flat cannot be measured: no map of a readable image")
    alone = shortcut_check({"flat": flat}, REGIONS_OF, PATIENT_OF, resamples=20, seed=0)
    assert (alone.tables, alone.figures) == ((), ())
    assert alone.paragraphs[1] == checked.paragraphs[-1]


def test_every_column_is_explained() -> None:
    columns = next(csv.reader(io.StringIO(to_csv(section().tables[0]))))
    for column in columns:
        assert lookup(column.replace("Mass", "disease")).definition
    assert lookup("share of") is lookup("CAM mass")  # and not the share of boxes lost to the gate


def _coco(images: int) -> dict[str, Any]:
    entries = [
        {"id": i, "file_name": f"{i}.png", "width": 512, "height": 512, "patient_id": f"p{i}"}
        for i in range(1, images + 1)
    ]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [150 + i, 100, 200, 200]}
        for i in range(1, images + 1)
    ]
    return {"images": entries, "annotations": boxes, "categories": [{"id": 1, "name": "Mass"}]}


def test_the_comparison_has_the_section_where_there_are_maps_and_images(tmp_path: Path) -> None:
    coco = _coco(4)
    names = [image["file_name"] for image in coco["images"]]
    for name in names:
        cv2.imwrite(str(tmp_path / name), limb_image())
    boxes = [Localization(name, "Mass", (150, 100, 350, 300), 0.9) for name in names]
    maps = HeatMaps.of(
        {(name, "Mass"): heat(0, 0, 1, 0) for name in names},
        name="another",
        aligned=False,
        without_markers={(name, "Mass"): heat(1, 0, 1, 0) for name in names},
        removal="mask",
    )

    def sections(paths: dict[str, Path]) -> dict[str, Section]:
        everyone = evaluated(coco, {"cam": boxes}, maps={"cam": maps}, image_paths=paths)
        return {part.key: part for part in build_report(everyone.inputs).sections}

    shortcut = sections({name: tmp_path / name for name in names})["shortcut"]
    assert macro(shortcut, "markers", MASS, "cam, markers masked minus cam")[0] > 0
    assert "shortcut" not in sections({})
