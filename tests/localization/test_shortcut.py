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

from cxrloc.localization.heat_maps import HeatMaps
from cxrloc.localization.localizer import Localization
from cxrloc.localization.sections import Section
from cxrloc.localization.shortcut import (
    FilmRegions,
    film_regions,
    mass_shares,
    read_regions,
    shared_pairs,
    shortcut_shares,
)
from cxrloc.localization.shortcut_section import AREA, EXCESS, MASS, shortcut_section
from cxrloc.localization.study import StudyInputs, run_study
from cxrloc.localization.table_files import to_csv
from cxrloc.localization.tables import Cell, TableRow
from cxrloc.localization.words import lookup


def regions(columns_marked: int = 1, columns_outside: int = 2) -> FilmRegions:
    """A frame of 4 x 4: markers in the first columns, air in the last ones."""
    shares = np.zeros((2, 4, 4), np.float32)
    shares[0, :, :columns_marked] = 1
    shares[1, :, 4 - columns_outside :] = 1
    return FilmRegions(shares, columns_marked > 0)


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


def limb_film() -> npt.NDArray[np.uint8]:
    """A bright disc on black, an R beside it."""
    film = np.full((512, 512), 4, np.uint8)
    cv2.circle(film, (300, 256), 150, 150, -1)
    cv2.putText(film, "R", (30, 120), cv2.FONT_HERSHEY_SIMPLEX, 2.0, 240, 6)
    return film


def test_a_marker_beside_the_body_is_marker_alone() -> None:
    found = film_regions(limb_film())
    assert found.marked
    markers, outside = found.shares
    assert markers.shape == (256, 256)
    assert markers[50, 20:30].max() == 1
    assert (markers + outside).max() <= 1
    body = math.pi * 153**2 / 512**2  # its border is true to some pixels
    assert 1 - found.areas.sum() == pytest.approx(body, rel=0.04)


def test_films_that_are_not_there_or_damaged_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    cv2.imwrite(str(tmp_path / "good.png"), limb_film())
    paths = {name: tmp_path / f"{name}.png" for name in ("good", "bad")}
    assert list(read_regions(paths, ["good", "bad", "other", "good"])) == ["good"]


def maps_of(columns: dict[tuple[str, str], tuple[float, ...]], name: str = "cam") -> HeatMaps:
    return HeatMaps.of({p: heat(*c) for p, c in columns.items()}, name=name, aligned=False)


REGIONS_OF = {f"film{i}": regions() for i in range(4)} | {"clear": regions(0, 0)}
PATIENT_OF = {"film0": "a", "film1": "a", "film2": "b", "film3": "c", "clear": "d"}


def test_shares_count_what_is_left_out() -> None:
    maps = maps_of(
        {
            ("film0", "Mass"): (1, 0, 0, 0),
            ("film1", "Mass"): (0, 0, 0, 0),
            ("gone", "Mass"): (1, 0, 0, 0),
            ("clear", "Edema"): (1, 0, 0, 0),
        }
    )
    found = shortcut_shares(maps, REGIONS_OF, PATIENT_OF)
    assert found.pairs == (("clear", "Edema"), ("film0", "Mass"))
    assert found.mass.tolist() == [[0, 0], [1, 0]]
    assert found.area.tolist() == [[0, 0], [0.25, 0.5]]
    assert (found.patient_ids, found.marked.tolist()) == (("d", "a"), [False, True])
    assert (found.empty, found.unread, found.diseases) == (1, 1, ("Edema", "Mass"))


def test_maps_of_no_film_are_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="cam: of 1 maps 0 are of films that could be read"):
        shortcut_shares(maps_of({("gone", "Mass"): (1, 0, 0, 0)}), REGIONS_OF, PATIENT_OF)


def section() -> Section:
    """One localizer that looks at markers alone, and one that never does."""
    looks = maps_of({(f"film{i}", "Mass"): (1, 0, 0, 0) for i in range(4)}, "looks")
    blind = maps_of({(f"film{i}", "Mass"): (0, 1, 0, 0) for i in range(3)}, "blind")
    shares = {m.name: shortcut_shares(m, REGIONS_OF, PATIENT_OF) for m in (looks, blind)}
    assert shared_pairs(list(shares.values())) == tuple((f"film{i}", "Mass") for i in range(3))
    return shortcut_section(shares, resamples=200, seed=0)


def row(found: Section, region: str, share: str, name: str) -> TableRow:
    lead = {"region": region, "share": share, "localizer": name}
    return next(r for r in found.tables[0].rows if r.lead == lead)


def test_the_table_holds_mass_control_and_difference_for_each_region() -> None:
    found = section()

    def macro(*wanted: str) -> tuple[float, float, float]:
        cell = row(found, *wanted).cells["macro mean"]
        assert isinstance(cell, Cell)
        return cell.estimate.value, cell.estimate.low, cell.estimate.high

    assert macro("markers", MASS, "looks") == (1, 1, 1)
    assert macro("markers", AREA, "looks") == (0.25, 0.25, 0.25)
    assert macro("markers", EXCESS, "looks") == (0.75, 0.75, 0.75)
    assert macro("outside the body", EXCESS, "looks") == (-0.5, -0.5, -0.5)
    assert macro("markers", MASS, "blind minus looks") == (-1, -1, -1)
    assert row(found, "markers", MASS, "looks").trail == {
        "maps": 4,
        "maps of marked films": 4,
        "patients": 3,
    }
    assert "100.00 % of the mass on 25.00 % of the area is on markers (more" in found.paragraphs[1]
    assert "0.00 % of the mass on 25.00 % of the area is on markers (less" in found.paragraphs[2]


def test_every_column_is_explained() -> None:
    columns = next(csv.reader(io.StringIO(to_csv(section().tables[0]))))
    for column in columns:
        assert lookup(column.replace("Mass", "disease")).definition


def _coco(films: int) -> dict[str, Any]:
    images = [
        {"id": i, "file_name": f"{i}.png", "width": 512, "height": 512, "patient_id": f"p{i}"}
        for i in range(1, films + 1)
    ]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [150 + i, 100, 200, 200]}
        for i in range(1, films + 1)
    ]
    return {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "Mass"}]}


def test_the_comparison_has_the_section_where_there_are_maps_and_films(tmp_path: Path) -> None:
    coco = _coco(4)
    names = [image["file_name"] for image in coco["images"]]
    for name in names:
        cv2.imwrite(str(tmp_path / name), limb_film())
    boxes = [Localization(name, "Mass", (150, 100, 350, 300), 0.9) for name in names]
    maps = maps_of({(name, "Mass"): (0, 0, 1, 0) for name in names})

    def keys(paths: dict[str, Path]) -> list[str]:
        inputs = StudyInputs(
            coco, {"cam": boxes}, maps={"cam": maps}, film_paths=paths, resamples=20
        )
        return [part.key for part in run_study(inputs).sections]

    assert "shortcut" in keys({name: tmp_path / name for name in names})
    assert "shortcut" not in keys({})
