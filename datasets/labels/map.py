"""Map the label names of a data set onto the diseases that are trained, merging several into one.

A map file is YAML with one line per name of the data set:

    Consolidation: Pneumonia
    Pleural Effusion: Effusion
    Fracture: null        # left out
    "*": null             # every other name is left out, too

Case, spaces, hyphens and underscores do not count in a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cxrloc.datasets.files.checked import LONGEST_NAME
from cxrloc.datasets.files.parse import read_yaml

_EVERY_OTHER = "*"


@dataclass(frozen=True)
class LabelMap:
    """Where each name of a data set goes.

    Attributes:
        disease_of: name as written in the map -> disease, or None if it is left out.
        others_left_out: whether names that are not listed are left out; else they are an error.
        source: where the map was written, for messages.
    """

    disease_of: Mapping[str, str | None]
    others_left_out: bool = False
    source: str = "label map"
    _by_key: Mapping[str, str | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_key: dict[str, str | None] = {}
        for name, disease in self.disease_of.items():
            if by_key.setdefault(name_key(name), disease) != disease:
                raise ValueError(f"{self.source}: {name!r} is listed twice with other diseases")
        object.__setattr__(self, "_by_key", by_key)

    @classmethod
    def of_names(cls, names: Iterable[str]) -> LabelMap:
        """The map that keeps every name as it is."""
        return cls({name: name for name in names})

    @property
    def diseases(self) -> tuple[str, ...]:
        """Diseases in the order of the map, each once."""
        return tuple(dict.fromkeys(d for d in self.disease_of.values() if d is not None))

    def lists(self, name: str) -> bool:
        """Whether the map has a line for a name."""
        return name_key(name) in self._by_key

    def disease(self, name: str, where: str = "") -> str | None:
        """The disease that a name becomes; None if it is left out.

        Raises:
            ValueError: for a name that the map does not list; `where` says where it was found.
        """
        key = name_key(name)
        if key not in self._by_key and not self.others_left_out:
            listed = ", ".join(self.disease_of) or "nothing"
            raise ValueError(
                f"{where + ': ' if where else ''}the name {name!r} is not in {self.source}, which "
                f"lists {listed}. Add a line `{name}: DISEASE`, or `{name}: null` to leave it out"
            )
        return self._by_key.get(key)


def read_label_map(path: Path) -> LabelMap:
    """Read a map from YAML.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a mapping of names to diseases.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no label map {path}; expected a YAML file with `name: disease`")
    content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: expected lines `name: disease`, got {type(content).__name__}")
    names: dict[str, str | None] = {}
    for name, disease in content.items():
        texts = [text for text in (name, disease) if text is not None]
        if name is None or not all(isinstance(t, str) and len(t) <= LONGEST_NAME for t in texts):
            raise ValueError(
                f"{path}: {name!r:.100}: {disease!r:.100}; expected a name and a disease in words "
                "(quote numbers, yes and no), or null to leave the name out"
            )
        names[name.strip()] = disease.strip() if disease else None
    others_left_out = _EVERY_OTHER in names
    if names.pop(_EVERY_OTHER, None) is not None:
        raise ValueError(f'{path}: "{_EVERY_OTHER}" takes only null, to leave out all other names')
    return LabelMap(names, others_left_out, str(path))


def name_key(name: str) -> str:
    """A name without what does not count in it: case, spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
