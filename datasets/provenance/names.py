"""Tell whether names in two lists mean the same image, and patients the same person.

`cxrloc.datasets.files.keys` compares two names. Here names of whole lists are compared: RSNA's ids
and ChestX-Det's names are the NIH images behind them, MURA's and CheXpert's paths belong to those
data sets, and other names are compared by as many folders as it takes to tell them apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from cxrloc.datasets.files.keys import image_key, name_without_ending, nih_image, patient_key
from cxrloc.datasets.readers.box_sets.nih_names.lookup import (
    nih_image_of_chestx_det,
    nih_image_of_rsna,
)
from cxrloc.datasets.readers.layouts import published_name

NIH = "NIH"
_UUID = re.compile(
    r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])", re.IGNORECASE
)
_CHESTX_DET = re.compile(r"[0-9]{5}")
_CHESTX_DET_SHARE = 0.9  # of a list's names; 35 of the set's 3,578 images have no known NIH name


@dataclass(frozen=True)
class Person:
    """A patient; `dataset` is empty if the image's name does not tell where the number counts."""

    dataset: str
    patient: str

    @property
    def is_number(self) -> bool:
        """Whether other data sets may number another patient alike."""
        return self.patient.isdecimal()


def nih_names(names: Collection[str]) -> dict[str, str]:
    """Name -> NIH image (`00000013_004`) of the names that tell it, in NIH's form or another's.

    An RSNA id is known wherever it stands. ChestX-Det's names are five digits, which may mean
    anything: they count where nearly all names of the list are among that set's.
    """
    images = {name: nih_image(name) or _image_of_rsna(name) for name in names}
    rest = [name for name, image in images.items() if image is None]
    of_chestx_det = {name: _image_of_chestx_det(name) for name in rest}
    if sum(map(bool, of_chestx_det.values())) >= max(1, _CHESTX_DET_SHARE * len(names)):
        images |= of_chestx_det
    return {name: image for name, image in images.items() if image is not None}


def names_of_others(names: Collection[str]) -> tuple[str, ...]:
    """Names of RSNA and ChestX-Det among these, which `nih_names` knows as NIH's."""
    return tuple(name for name in nih_names(names) if nih_image(name) is None)


def _image_of_rsna(name: str) -> str | None:
    match = _UUID.search(name)
    image = nih_image_of_rsna(match[0]) if match else None
    return None if image is None else nih_image(image)


def _image_of_chestx_det(name: str) -> str | None:
    stem = image_key(name)
    image = nih_image_of_chestx_det(f"{stem}.png") if _CHESTX_DET.fullmatch(stem) else None
    return None if image is None else nih_image(image)


def is_uuid(name: str) -> bool:
    """Whether a name has the form of RSNA's ids."""
    return _UUID.fullmatch(name) is not None


def patients_by_name(images: Collection[str]) -> dict[str, str]:
    """Return image -> patient, read from the name; empty if the name does not tell it.

    Names of NIH's images (see `nih_names`) tell NIH's number. Paths in MURA's and CheXpert's
    layouts have a folder `patient00011`.
    """
    of_nih = {name: patient_key(image[:8]) for name, image in nih_names(images).items()}
    return {name: of_nih.get(name) or _published_patient(name) for name in images}


def _published_patient(name: str) -> str:
    parsed = published_name(name_without_ending(name))
    return parsed.patient if parsed else ""


def persons(patient_of: Mapping[str, str]) -> dict[str, tuple[Person, ...]]:
    """Image -> the persons that it may show; none if the patient is unknown.

    An NIH image shows NIH's patient whatever the list says: its name is surer than a pseudonym.
    """
    of_nih = nih_names(patient_of)
    return {
        name: _persons(name, of_nih.get(name), patient_key(patient))
        for name, patient in patient_of.items()
    }


def _persons(name: str, nih: str | None, patient: str) -> tuple[Person, ...]:
    if nih is not None:
        pseudonym = () if not patient or patient.isdecimal() else (Person("", patient),)
        return (Person(NIH, patient_key(nih[:8])), *pseudonym)
    parsed = published_name(name_without_ending(name))
    if parsed is not None:
        return (Person(parsed.dataset, patient or parsed.patient),)
    return (Person("", patient),) if patient else ()


class People:
    """The patients of a training and of an evaluation, compared.

    Args:
        training, evaluated: image -> patient as written; empty if unknown.
    """

    def __init__(self, training: Mapping[str, str], evaluated: Mapping[str, str]) -> None:
        self._training = persons(training)
        self._evaluated: dict[str, set[Person]] = {}  # key of the patient -> who that may be
        for people in filter(None, persons(evaluated).values()):
            self._evaluated.setdefault(people[0].patient, set()).update(people)

    def shared(self, images: Collection[str]) -> tuple[str, ...]:
        """Keys of the evaluated patients with an image among these training images."""
        seen = self._seen(images)
        # a name without a data set may be of any; but numbers are alike in many data sets
        texts = {person.patient for person in seen if not person.is_number}
        anywhere = {p.patient for p in seen if not p.is_number and not p.dataset}
        return self._patients(
            lambda p: p in seen or p.patient in (anywhere if p.dataset else texts)
        )

    def ambiguous(self, images: Collection[str]) -> tuple[str, ...]:
        """Evaluated patients whose number these images have, perhaps in another data set."""
        seen = self._seen(images)
        shared = set(self.shared(images))
        numbers = {person.patient for person in seen if person.is_number}
        nowhere = {p.patient for p in seen if p.is_number and not p.dataset}
        patients = self._patients(lambda p: p.patient in (nowhere if p.dataset else numbers))
        return tuple(patient for patient in patients if patient not in shared)

    def _seen(self, images: Collection[str]) -> set[Person]:
        return {person for image in images for person in self._training[image]}

    def _patients(self, chosen: Callable[[Person], bool]) -> tuple[str, ...]:
        return tuple(name for name, people in self._evaluated.items() if any(map(chosen, people)))


def common_key(*lists: Collection[str]) -> Callable[[str], str]:
    """Return the key to compare these lists' names by; copies may be moved or re-encoded.

    Names of NIH's images are that image. Names in MURA's and CheXpert's layouts are compared from
    the body part or patient on, because published lists start with the release and ours do not.
    `_key_of_others` handles other names.
    """
    of_nih = {name: image for names in lists for name, image in nih_names(names).items()}
    others = _key_of_others(
        [
            {clean for n in names if n not in of_nih if not published_name(clean := _clean(n))}
            for names in lists
        ]
    )

    def key(name: str) -> str:
        if name in of_nih:
            return of_nih[name]
        parsed = published_name(_clean(name))
        return parsed.name if parsed else others(_clean(name))

    return key


_clean = name_without_ending


def _key_of_others(lists: Iterable[Collection[str]]) -> Callable[[str], str]:
    """Compare by file, if files are unique in every list; names are without endings.

    If a list has the same file in several folders (`p1/view1`), the folders belong to the name:
    compare as many trailing folders as every name has, or all if those are still ambiguous.
    """
    lists = list(lists)
    if all(_tells_apart(_file, names) for names in lists):
        return _file
    parts = 1 + min(name.count("/") for names in lists for name in names)

    def last_parts(name: str) -> str:
        return "/".join(name.split("/")[-parts:])

    return last_parts if all(_tells_apart(last_parts, names) for names in lists) else str


def _file(name: str) -> str:
    return name.rpartition("/")[2]


def _tells_apart(key: Callable[[str], str], names: Collection[str]) -> bool:
    return len({key(name) for name in names}) == len(names)
