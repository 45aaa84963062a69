"""Match a results file's names of images and diseases to a COCO ground truth.

Ids may be numbers or texts, in either file. A text that is one image's id and another image's name
is refused. Diseases are matched by their ids, and by names where the file has them: case, spaces,
hyphens and underscores do not count, and synonyms of the ground truth's label map do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from cxrloc.datasets.files.coco.categories import SOURCES, SYNONYMS, synonym_key
from cxrloc.datasets.files.coco.images import SOURCE_ID, plain_name, stems
from cxrloc.datasets.files.coco.read import LEFT_OUT
from cxrloc.datasets.files.coco.values import Key, id_key, shown, some
from cxrloc.datasets.files.keys import image_key
from cxrloc.datasets.images.read import IMAGE_SUFFIXES
from cxrloc.datasets.labels.map import name_key

_OTHER_FILE = "was it made for another ground-truth file?"
_NAME_KEYS = ("category", "category_name")
# an exact name counts before one in other case, and that before a synonym
_KEYS: tuple[Callable[[str], str], ...] = (str, name_key, synonym_key)


class CocoNames:
    """Numbers and names of a ground truth, looked up both ways; `source` appears in its errors."""

    def __init__(self, coco: Mapping[str, Any], source: str) -> None:
        for key in ("images", "categories"):
            if key not in coco:
                raise ValueError(f"{source}: the ground truth has no {key!r}; expected a COCO dict")
        images = coco["images"]
        self.first = next(iter(images), None)
        self.count = len(images)
        self.image_of_id = {id_key(image.get(SOURCE_ID, image["id"])): image for image in images}
        self.image_of = {image["file_name"]: image for image in images}
        self._stems = {image["file_name"]: stems(image) for image in images}
        self._images_of_stem: dict[str, list[Any]] = {}
        for image in images:
            for stem in self._stems[image["file_name"]]:
                self._images_of_stem.setdefault(stem, []).append(image)
        self._images_of_key: dict[str, list[Any]] = {}
        for image in images:
            self._images_of_key.setdefault(image_key(image["file_name"]), []).append(image)
        self._images_of_digits = _by_digits(self.image_of_id)
        self._known: dict[Any, Any] = {}
        self._known_diseases: dict[Any, str | None] = {}
        left_out = coco.get("info", {}).get(LEFT_OUT, ()) if "info" in coco else ()
        self.category_of = {c["name"]: _first_id(c) for c in coco["categories"]}
        self._diseases = _Diseases(coco["categories"], left_out)

    def image(self, value: Any, where: str) -> Any:
        """The ground truth's image that a value names: an id, a file name, or one without ending.

        Raises:
            ValueError: starting with `where`, if there is none, or more than one.
        """
        plain = type(value) is int or type(value) is str
        if plain and value in self._known:
            return self._known[value]
        images = self._images(value)
        if len(images) > 1:
            names = some([f"{i['file_name']!r} (id {_id(i)!r})" for i in images])
            raise ValueError(
                f"{where}: image_id {shown(value)} may be each of {names}; write the id or the "
                "whole file name, in a form that is one image's alone"
            )
        if not images:
            first = self.first
            example = (
                f"for example {_id(first)!r} or {first['file_name']!r}" if first else "(has none)"
            )
            raise ValueError(
                f"{where}: image_id {shown(value)} is not in the ground truth; expected one of its "
                f"{self.count} images, {example}"
            )
        if plain:
            self._known[value] = images[0]
        return images[0]

    def _images(self, value: Any) -> list[Any]:
        """All images that a value may mean."""
        key = id_key(value)
        if key is None:
            return []
        images = [self.image_of_id[key]] if key in self.image_of_id else []
        if isinstance(value, str):
            images += self._images_of_name(value)
        if not images and isinstance(key, int):
            images = self._images_of_digits.get(key, [])
        return list({image["id"]: image for image in images}.values())

    def _images_of_name(self, value: str) -> list[Any]:
        names = [plain_name(value), unquote(plain_name(value))]
        whole = [self.image_of[name] for name in names if name in self.image_of]
        if whole:
            return whole[:1]
        paths = [PurePosixPath(name) for name in names]
        # without extension; or the name has none, dots included
        stems = [path.name for path in paths]
        stems += [path.stem for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
        images = next((self._images_of_stem[s] for s in stems if s in self._images_of_stem), [])
        images = images or self._images_of_key.get(image_key(value), [])
        if len(images) > 1:
            return [i for i in images if _same_end(i["file_name"], paths[0])] or images
        return images

    def disease(self, entry: Mapping[str, Any], where: str) -> str | None:
        """The ground truth's disease of an entry; None for a category that it leaves out.

        Raises:
            ValueError: starting with `where`, if it has none, or if id and name say two.
        """
        written = entry.get("category_id"), *map(entry.get, _NAME_KEYS)
        if type(written[0]) is not int or not all(v is None or type(v) is str for v in written[1:]):
            return self._diseases.of(entry, where)
        if written not in self._known_diseases:
            self._known_diseases[written] = self._diseases.of(entry, where)
        return self._known_diseases[written]

    def check_file_name(self, entry: Mapping[str, Any], image: Any, where: str) -> None:
        """Raise ValueError if an entry's file_name is another image's."""
        written = entry.get("file_name", image["file_name"])
        if written == image["file_name"]:
            return
        name = PurePosixPath(plain_name(str(written)))
        same_key = image_key(str(written)) == image_key(image["file_name"])
        if not same_key and not {name.name, name.stem} & self._stems[image["file_name"]]:
            raise ValueError(
                f"{where}: file_name {shown(written)} does not match image_id "
                f"{shown(entry['image_id'])}, which is {image['file_name']!r} in the ground truth; "
                f"{_OTHER_FILE}"
            )


def has_category_name(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of a results file names its disease."""
    return any(entry.get(key) is not None for key in _NAME_KEYS)


class _Diseases:
    """Ids and names of diseases; None is a category that the ground truth leaves out."""

    def __init__(self, categories: Iterable[Mapping[str, Any]], left_out: Iterable[Any]) -> None:
        self.of_id: dict[Key | None, str | None] = {}
        self.listed: list[str] = []
        names: list[tuple[str, str | None]] = []
        for category in categories:
            disease = str(category["name"])
            for number, name in category.get(SOURCES, [[category["id"], disease]]):
                self.of_id[id_key(number)] = disease
                names.append((str(name), disease))
                self.listed.append(f"{number} {name}")
            names += [(name, disease) for name in [disease, *category.get(SYNONYMS, ())]]
        for number, name in left_out:
            self.of_id[id_key(number)] = None
            names.append((str(name), None))
        self.of_name = [_unambiguous(names, key) for key in _KEYS]

    def of(self, entry: Mapping[str, Any], where: str) -> str | None:
        value = entry.get("category_id")
        name = next((entry[key] for key in _NAME_KEYS if entry.get(key) is not None), None)
        by_name, named = self._named(name)
        if value is None and name is not None:
            by_id, known = by_name, named
        else:
            key = id_key(value)
            by_id, known = self.of_id.get(key), key is not None and key in self.of_id
            if not known and isinstance(value, str):
                by_id, known = self._named(value)
        if not known:
            what = f"category_id {shown(value)}" if name is None else f"category {shown(name)}"
            raise ValueError(
                f"{where}: {what} is unknown; expected one of {', '.join(self.listed)}"
            )
        if name is not None and (not named or by_name != by_id):
            raise ValueError(
                f"{where}: category {shown(name)} does not match category_id {shown(value)}, which "
                f"is {by_id or 'left out'!r} in the ground truth; {_OTHER_FILE}"
            )
        return by_id

    def _named(self, name: Any) -> tuple[str | None, bool]:
        """The disease of a name, and whether it is known."""
        if not isinstance(name, str):
            return None, False
        for diseases, key in zip(self.of_name, _KEYS, strict=True):
            if key(name) in diseases:
                return diseases[key(name)], True
        return None, False


def _unambiguous(
    names: Iterable[tuple[str, str | None]], key: Callable[[str], str]
) -> dict[str, str | None]:
    diseases: dict[str, set[str | None]] = {}
    for name, disease in names:
        diseases.setdefault(key(name), set()).add(disease)
    return {name: next(iter(found)) for name, found in diseases.items() if len(found) == 1}


def _by_digits(image_of_id: Mapping[Any, Any]) -> dict[int, list[Any]]:
    """Images by the number of an id such as 00012, which many programs read as 12."""
    images: dict[int, list[Any]] = {}
    for key, image in image_of_id.items():
        if isinstance(key, str) and key.isdecimal():
            images.setdefault(int(key), []).append(image)
    return images


def _same_end(file_name: str, path: PurePosixPath) -> bool:
    """Whether two paths have the same folders, as far as both go."""
    ours, theirs = PurePosixPath(file_name).parent.parts, path.parent.parts
    shared = min(len(ours), len(theirs))
    return bool(shared) and ours[-shared:] == theirs[-shared:]


def _first_id(category: Mapping[str, Any]) -> Any:
    """An id by which the ground truth's file knows a category."""
    return category.get(SOURCES, [[category["id"]]])[0][0]


def _id(image: Mapping[str, Any]) -> Any:
    return image.get(SOURCE_ID, image["id"])
