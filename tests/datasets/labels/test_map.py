"""The label map: what a name becomes, and what is refused."""

from pathlib import Path

import pytest

from cxrloc.datasets.labels.map import LabelMap, read_label_map


def _map(tmp_path: Path, text: str) -> LabelMap:
    path = tmp_path / "map.yaml"
    path.write_text(text, encoding="utf-8")
    return read_label_map(path)


def test_names_are_mapped_merged_and_left_out(tmp_path: Path) -> None:
    labels = _map(
        tmp_path,
        "Consolidation: Pneumonia\nInfiltrate: Pneumonia\n"
        "Pleural Effusion: Effusion\nFracture: null\n",
    )
    assert labels.diseases == ("Pneumonia", "Effusion")
    assert labels.disease("consolidation ") == labels.disease("INFILTRATE") == "Pneumonia"
    assert labels.disease("pleural_effusion") == labels.disease("Pleural-Effusion") == "Effusion"
    assert labels.disease("Fracture") is None


def test_an_unlisted_name_is_refused_unless_all_others_are_left_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row 3: the name 'Nodule' is not in .*map.yaml.*Mass"):
        _map(tmp_path, "Mass: Mass\n").disease("Nodule", "row 3")
    assert _map(tmp_path, 'Mass: Mass\n"*": null\n').disease("Nodule") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected lines"),
        ("- Mass\n", "got list"),
        ("yes: Mass\n", "quote numbers"),
        ("Mass: 1\n", "quote numbers"),
        ("Mass: [a, b]\n", "in words"),
        ('"*": Mass\n', "takes only null"),
        ("Pleural Effusion: Effusion\npleural_effusion: Fluid\n", "listed twice"),
        ("a: {b\n", "is not YAML"),
    ],
)
def test_a_faulty_map_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        _map(tmp_path, text)
