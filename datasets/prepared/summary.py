"""Tabulate a prepared data set: images in the lists, on disk, and missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.label_policies import count_labels, counts_text
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.readers.index import ReaderWarnings

UnboxedPositives = list[tuple[str, str]]  # image id, disease
_NAMED = 10


def counts(radiographs: Sequence[Radiograph]) -> dict[str, int]:
    """Count images, patients, boxes and positive labels."""
    boxed = [r for r in radiographs if r.boxes]
    return {
        "images": len(radiographs),
        "patients": len({r.patient_id for r in radiographs}),
        "boxed images": len(boxed),
        "patients with boxes": len({r.patient_id for r in boxed}),
        "boxes": sum(len(r.boxes) for r in radiographs),
        "positive labels": sum(len(r.positives) for r in radiographs),
        "images without a positive": sum(not r.positives for r in radiographs),
    }


def patients_note(radiographs: Sequence[Radiograph]) -> tuple[str, ...]:
    """One sentence without its full stop if the patients of some images are not known."""
    unknown = sum(not r.patient_known for r in radiographs)
    if not unknown:
        return ()
    return (
        f"The patient of {unknown:,} of {len(radiographs):,} images is not known: each counts as a "
        "patient of its own, so figures are too good and intervals too narrow if patients have "
        "several images",
    )


def unboxed_positives(
    radiographs: Sequence[Radiograph], diseases: Sequence[str]
) -> UnboxedPositives:
    """(image id, disease) of positive labels without a box, on images that have other boxes."""
    return [
        (r.image_id, disease)
        for r in radiographs
        if r.boxes
        for disease in r.positives
        if disease in diseases and disease not in r.boxed
    ]


def summary_text(
    radiographs: Sequence[Radiograph],
    unreadable: Mapping[str, str],
    *,
    diseases: Sequence[str],
    boxed_diseases: Sequence[str],
    official: Mapping[str, str],
    warnings: ReaderWarnings,
    images_checked: bool,
    folds: int = 1,
) -> str:
    """Write the whole table as text.

    Args:
        radiographs: the whole data set; `path` is None for images without a file.
        unreadable: image id -> reason, for images with an unusable file.
        folds: number of folds into which the images are split.
    """
    present = [r for r in radiographs if r.path is not None and r.image_id not in unreadable]
    boxed_diseases = boxed_diseases if any(r.boxes for r in radiographs) else ()
    unboxed = [unboxed_positives(images, boxed_diseases) for images in (radiographs, present)]
    lines = [f"{RESEARCH_USE}.", "", *_overview(radiographs, present, official), ""]
    lines += [line for note in patients_note(present) for line in (f"{note}.", "")]
    lines += _by_body_part(present)
    lines += _missing(radiographs, unreadable, images_checked)
    lines += ["", *_per_disease(radiographs, present, diseases, boxed_diseases, unboxed), ""]
    if boxed_diseases:
        lines += _unboxed(unboxed)
    lines += _rare(present, diseases, folds)
    lines += _undecided(present, diseases)
    lines += ["", "Warnings and notes:" if warnings else "No warnings.", *warnings.lines()]
    return "\n".join(lines) + "\n"


def _overview(
    radiographs: Sequence[Radiograph], present: Sequence[Radiograph], official: Mapping[str, str]
) -> list[str]:
    rows = [f"{'':28}{'in the lists':>14}{'on disk':>10}{'missing':>10}"]
    listed, there = counts(radiographs), counts(present)
    for part in dict.fromkeys(official.values()):
        listed[f"images in official {part}"] = sum(v == part for v in official.values())
        there[f"images in official {part}"] = sum(official.get(r.image_id) == part for r in present)
    for name, total in listed.items():
        rows.append(f"{name:28}{total:>14,}{there[name]:>10,}{total - there[name]:>10,}")
    return rows


def _by_body_part(present: Sequence[Radiograph]) -> list[str]:
    """Images, examinations and patients on disk by body part, if parts are known."""
    parts = sorted({r.body_part for r in present} - {""})
    if not parts:
        return []
    header = ("images", "studies", "positive", "patients")
    rows = [f"{'on disk, by body part':28}" + "".join(f"{title:>11}" for title in header)]
    for part in parts:
        images = [r for r in present if r.body_part == part]
        studies = {r.study_id or r.image_id: bool(r.positives) for r in images}
        patients = {r.patient_id for r in images}
        cells = len(images), len(studies), sum(studies.values()), len(patients)
        rows.append(f"{part:28}" + "".join(f"{cell:>11,}" for cell in cells))
    return [*rows, "(positive: studies with a positive label)", ""]


def _missing(
    radiographs: Sequence[Radiograph], unreadable: Mapping[str, str], images_checked: bool
) -> list[str]:
    absent = [r for r in radiographs if r.path is None]
    boxes = sum(len(r.boxes) for r in absent)
    rows = [
        f"Missing: {len(absent):,} images have no file (with {boxes:,} boxes); "
        + (f"{len(unreadable):,} files cannot be read." if images_checked else "files not checked.")
    ]
    if absent:
        rows.append(f"  no file: {', '.join(r.image_id for r in absent[:3])}, ...")
    rows += [f"  {image}: {reason}" for image, reason in list(unreadable.items())[:_NAMED]]
    if len(unreadable) > _NAMED:
        rows.append(f"  and {len(unreadable) - _NAMED:,} more (manifest.json names all)")
    return rows


def _per_disease(
    radiographs: Sequence[Radiograph],
    present: Sequence[Radiograph],
    diseases: Sequence[str],
    boxed_diseases: Sequence[str],
    unboxed: Sequence[UnboxedPositives],
) -> list[str]:
    header = ["positives", "on disk"]
    if boxed_diseases:
        header += ["boxes", "on disk", "unboxed*", "on disk"]
    rows = [f"{'disease':28}" + "".join(f"{title:>11}" for title in header)]
    for disease in diseases:
        cells = [
            sum(r.labels.get(disease) == 1 for r in images) for images in (radiographs, present)
        ]
        if disease in boxed_diseases:
            for images in (radiographs, present):
                cells.append(sum(box.disease == disease for r in images for box in r.boxes))
            cells += [sum(d == disease for _, d in pairs) for pairs in unboxed]
        rows.append(f"{disease:28}" + "".join(f"{cell:>11,}" for cell in cells))
    return rows


def _unboxed(unboxed: Sequence[UnboxedPositives]) -> list[str]:
    labels = [len(pairs) for pairs in unboxed]
    image_counts = [len({image for image, _ in pairs}) for pairs in unboxed]
    return [
        f"* {labels[0]:,} positive labels on {image_counts[0]:,} boxed images have no box "
        f"({labels[1]:,} on {image_counts[1]:,} on disk):",
        "  predictions there are ignored: they are neither right nor wrong.",
    ]


def _rare(present: Sequence[Radiograph], diseases: Sequence[str], folds: int) -> list[str]:
    """Diseases that some fold must be without, and those that every image has or may have."""
    always = [d for d in diseases if present and all(r.labels.get(d) != 0 for r in present)]
    patients = {d: len({r.patient_id for r in present if r.labels.get(d) == 1}) for d in diseases}
    rare = [f"{disease} ({count})" for disease, count in patients.items() if 0 < count < folds]
    lines = []
    if always:
        lines += ["", f"No image is known not to have {', '.join(always)}: no gate can learn it."]
    if not rare:
        return lines
    return [
        *lines,
        "",
        f"Fewer patients than the {folds} folds: {', '.join(rare)}. Some folds cannot score them,",
        "and some models have never seen them: take fewer --folds, or merge them by --labels.",
    ]


def _undecided(present: Sequence[Radiograph], diseases: Sequence[str]) -> list[str]:
    """All kinds of labels of the images on disk, if some are neither present nor absent."""
    counts = count_labels(present, diseases)
    if not any(of.uncertain or of.blank for of in counts.values()):
        return []
    return ["", "Labels of the images on disk:", counts_text(counts)]
