r"""Find letters and words burnt into images, and look at them; or score the finder.

    cxrloc find-markers IMAGES... --out runs/markers
    cxrloc find-markers IMAGES... --out runs/markers --remove-markers inpaint
    cxrloc find-markers --phantoms 30 --image-size 512

INPUT is an image file (PNG, JPEG, DICOM) or a folder. OUT receives markers.csv, a line for each
marker with its box, and sheet1.jpg, sheet2.jpg, ...: each image with its boxes and, next to it, as
a network trained with `model.markers` mask (or inpaint) sees it.

With --phantoms, words are burnt into drawn chests and limbs at known places, and the finder's
precision and recall are printed. Research use only, never a diagnosis.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from cxrloc.configs.command_line import run_tool, tool_parser
from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.files.runs.locks import writes_folder
from cxrloc.datasets.images.markers import REMOVALS, FoundMarkers, find_markers
from cxrloc.datasets.images.read import read_image, readable_images
from cxrloc.datasets.phantoms.markers import KINDS, marked_images
from cxrloc.datasets.progress import progress
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.datasets.readers.loose_images import images_of
from cxrloc.localization.analyses.shortcut.marker_check import (
    IMAGES_PER_SHEET,
    SAME,
    marker_sheet,
    score_markers,
)

_SMALLEST = 256  # px: on smaller phantoms there is no room for the words


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("find_markers", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if bool(arguments.inputs) == (arguments.phantoms is not None):
        parser.error("give either images or --phantoms N")
    if arguments.inputs and arguments.out is None:
        parser.error("--out is missing: the folder for the table and the sheets")
    if arguments.phantoms is None:
        with writes_folder(arguments.out):
            return _look(arguments.inputs, arguments.out, arguments.remove_markers)
    if arguments.phantoms < 1 or arguments.image_size < _SMALLEST:
        parser.error(f"expected --phantoms of at least 1 and --image-size of {_SMALLEST} or more")
    return _score(arguments.phantoms, arguments.image_size)


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    parser.add_argument("inputs", nargs="*", type=Path, metavar="INPUT", help="images or folders")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the table and the sheets"
    )
    parser.add_argument(
        "--remove-markers",
        choices=REMOVALS,
        default="mask",
        help="how the right picture of an image is treated (default: mask)",
    )
    scoring = parser.add_argument_group("scoring the finder")
    scoring.add_argument("--phantoms", type=int, metavar="N", help="draw N images of each kind")
    scoring.add_argument(
        "--image-size", type=int, default=512, help="their size in pixels (default: 512)"
    )
    return parser


def _score(count: int, image_size: int) -> int:
    print(f"{'images':8s}{'markers':>9s}{'found':>7s}{'precision':>11s}{'recall':>8s}")
    for kind in KINDS:
        images = marked_images(kind, count, image_size=image_size)
        score = score_markers(progress(images, kind, count))
        print(
            f"{kind:8s}{score.drawn:9d}{score.found:7d}{score.precision:11.3f}{score.recall:8.3f}"
        )
    print(f"{count} drawn images each, {image_size} px. A marker is found at IoU {SAME} or more.")
    print(f"{RESEARCH_USE}.")
    return 0


def _look(inputs: Sequence[Path], out: Path, how: str) -> int:
    """Table and sheets of the images; an image that cannot be read is reported."""
    paths, failures = images_of("find_markers", inputs, out)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[list[object]] = []
    images = 0
    starts = range(0, len(paths), IMAGES_PER_SHEET)
    for number, start in enumerate(progress(starts, "sheets", unit="sheet"), start=1):
        page = _found(paths[start : start + IMAGES_PER_SHEET], failures)
        if page:
            marker_sheet([*page.values()], how).save(out / f"sheet{number}.jpg")
        images += len(page)
        rows += [
            [p, *box] for p, (_, markers) in page.items() for box in markers.boxes_xyxy.tolist()
        ]
    _write_table(out / "markers.csv", rows)
    print(
        f"{len(rows)} markers on {images} images: {out / 'markers.csv'} and the sheets next to it."
    )
    print(f"{RESEARCH_USE}.")
    for failure in failures:
        print(f"left out: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _found(
    paths: Sequence[Path], failures: list[str]
) -> dict[Path, tuple[LoadedImage, FoundMarkers]]:
    """The images that can be read; `failures` gets a message for each of the others."""
    images = readable_images(paths, read_image, lambda _, error: failures.append(str(error)))
    return {path: (image, find_markers(image.pixels)) for path, image in images}


def _write_table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "x1", "y1", "x2", "y2"])  # pixels of the image
    writer.writerows(rows)
    write_text(path, text.getvalue())


if __name__ == "__main__":
    raise SystemExit(main())
