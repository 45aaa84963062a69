"""Markers: letters are found where they were drawn, and little else; the rest of the film stays."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cxrloc.datasets.body_mask import body_mask
from cxrloc.datasets.markers import find_markers, remove_markers
from cxrloc.datasets.phantom_film import render_film

Film = npt.NDArray[np.uint8]
WORDS = ("L", "R", "AP", "PORTABLE", "SUPINE", "L JFC", "R 12", "PA", "UPRIGHT", "SCAR")
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX)
Box = tuple[float, float, float, float]


def burn_in(
    pixels: npt.NDArray[np.uint8], count: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], list[Box]]:
    """A copy with `count` words near its borders, and the words' boxes xyxy.

    Each is 60 to 180 grey values brighter than the median below it, 20 to 70 px high on a film of
    1,024 px, upright, askew or on end, at times mirrored as a cassette held the wrong way shows it.
    """
    film, boxes = pixels.copy(), list[Box]()
    for _ in range(200 * count):
        if len(boxes) == count:
            break
        word = _word(len(film) / 1024, rng)
        box = _place(word.shape, film.shape, rng)
        if box is None or any(_touch(box, other, 0.06 * len(film)) for other in boxes):
            continue
        x1, y1, x2, y2 = (int(v) for v in box)
        below = film[y1:y2, x1:x2].astype(np.float64)
        white = float(np.median(below) + rng.uniform(60, 180))
        if white > 255 or below.max() > white - 40:
            continue
        film[y1:y2, x1:x2] = np.round(below + word / 255 * (white - below)).astype(np.uint8)
        boxes.append(box)
    assert len(boxes) == count, "no room for the words"
    return film, boxes


def _word(scale: float, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A word, cut to its ink: 255 where it is full."""
    text, font = str(rng.choice(WORDS)), int(rng.choice(FONTS))
    height = (rng.uniform(30, 70) if len(text) == 1 else rng.uniform(20, 36)) * scale
    size = height / 22  # Hershey capitals are 22 px high at size 1
    thickness = max(1, round(height / rng.uniform(6, 10)))
    canvas = np.zeros((600, 600), np.uint8)
    cv2.putText(canvas, text, (120, 300), font, size, 255, thickness, cv2.LINE_AA)
    angle = float(rng.choice((0, 0, 90, -90, rng.uniform(-35, 35))))
    canvas = cv2.warpAffine(canvas, cv2.getRotationMatrix2D((300, 300), angle, 1), (600, 600))
    if rng.random() < 0.2:
        canvas = canvas[:, ::-1]
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    return np.asarray(canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _place(
    word_hw: tuple[int, ...], film_hw: tuple[int, ...], rng: np.random.Generator
) -> Box | None:
    """A place near the left, right or upper border; None if the word is too large for the film."""
    (h, w), (height, width) = word_hw, film_hw
    if w > 0.3 * width or h > 0.3 * height:
        return None
    x, y = rng.uniform(0.02, 0.95) * width, rng.uniform(0.02, 0.95) * height
    near = min(x + w / 2, width - x - w / 2) < 0.14 * width or y + h / 2 < 0.1 * height
    if not near or x + w > 0.99 * width or y + h > 0.99 * height:
        return None
    return float(int(x)), float(int(y)), float(int(x) + w), float(int(y) + h)


def _touch(a: Box, b: Box, gap: float) -> bool:
    apart = max(max(a[0], b[0]) - min(a[2], b[2]), max(a[1], b[1]) - min(a[3], b[3]))
    return apart < gap


def overlap(a: Box, b: Box) -> float:
    """IoU of two boxes xyxy."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, w) * max(0.0, h)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def found_boxes(film: Film) -> list[Box]:
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in find_markers(film).boxes_xyxy.tolist()]


def test_words_on_phantoms_are_found_and_little_else() -> None:
    drawn, found = 0, 0
    hits, right = 0, 0
    for patient in range(101, 113):
        phantom = render_film(patient=patient, image_size=512)
        film, words = burn_in(phantom.pixels, 3, np.random.default_rng(patient - 100))
        own = [tuple(v / 2 for v in box) for box in phantom.markers_xyxy]
        truth, boxes = [*words, *own], found_boxes(film)
        drawn, found = drawn + len(truth), found + len(boxes)
        hits += sum(any(overlap(t, b) > 0.3 for b in boxes) for t in truth)
        right += sum(any(overlap(t, b) > 0.3 for t in truth) for b in boxes)
    # over 30 such films, 133 words: precision .96, recall .92; at 1,024 px .97 and .92
    assert drawn > 50
    assert right / found > 0.9
    assert hits / drawn > 0.88


def limb(height: int = 512, width: int = 400) -> Film:
    """A forearm on black: soft tissue, two bones with bright, blurred borders."""
    film = np.zeros((height, width), np.float32)
    cv2.ellipse(film, (width // 2, height // 2), (90, 300), 0, 0, 360, 90, -1)
    for x in (width // 2 - 30, width // 2 + 35):
        cv2.line(film, (x, -10), (x + 5, height + 10), 190, 34)
        cv2.line(film, (x, -10), (x + 5, height + 10), 150, 16)
    film = cv2.GaussianBlur(film, (0, 0), 3)
    film += np.random.default_rng(0).normal(6, 2, film.shape)
    return np.clip(film, 0, 255).astype(np.uint8)


def test_the_side_letter_of_a_limb_is_found_outside_of_the_body_anywhere() -> None:
    film = limb()
    assert found_boxes(film) == []
    cv2.putText(film, "R", (20, 280), cv2.FONT_HERSHEY_SIMPLEX, 2.2, 230, 7, cv2.LINE_AA)
    (box,) = found_boxes(film)
    (w, h), _ = cv2.getTextSize("R", cv2.FONT_HERSHEY_SIMPLEX, 2.2, 7)
    assert overlap(box, (20, 280 - h, 20 + w, 280)) > 0.6
    assert not body_mask(film)[260, 40]


@pytest.fixture(scope="module")
def plain_film() -> Film:
    """Noise of grey 100 all over, an L of 240 at the upper left, 5 px strokes."""
    film = np.random.default_rng(1).normal(100, 3, (512, 512)).astype(np.uint8)
    film[30:62, 40:45] = 240
    film[57:62, 40:60] = 240
    return film


def test_box_and_mask_hold_the_letter_and_its_rim(plain_film: Film) -> None:
    found = find_markers(plain_film)
    assert found.boxes_xyxy.tolist() == [[37.5, 27.5, 62.5, 64.5]]  # 2.5 px: 5 of a 1024 frame
    assert found.mask[30:62, 40:45].all()
    assert found.mask[57:62, 40:60].all()
    assert not found.mask[:, :36].any()
    assert not found.mask[68:].any()


@pytest.mark.parametrize("how", ["mask", "inpaint"])
def test_a_removed_marker_has_the_grey_of_its_surroundings(plain_film: Film, how: str) -> None:
    mask = find_markers(plain_film).mask
    clean = remove_markers(plain_film, how)
    assert abs(float(clean[mask].mean()) - 100) < 3
    assert (clean[~mask] == plain_film[~mask]).all()
    assert plain_film[40, 42] == 240  # the given film is not written to
    assert found_boxes(clean) == []


def test_keep_and_a_film_without_markers_change_nothing(plain_film: Film) -> None:
    assert remove_markers(plain_film, "keep") is plain_film
    for empty in (np.zeros((64, 48), np.uint8), np.full((64, 48), 200, np.uint8)):
        found = find_markers(empty)
        assert found.boxes_xyxy.shape == (0, 4)
        assert found.mask.shape == (64, 48)
        assert remove_markers(empty, "inpaint") is empty


def test_a_letter_amid_the_body_is_left_but_a_line_of_text_may_lie_deeper(plain_film: Film) -> None:
    film = np.full((1024, 1024), 100, np.uint8)
    cv2.putText(film, "L", (500, 500), cv2.FONT_HERSHEY_SIMPLEX, 1.5, 240, 5)
    cv2.putText(film, "R", (260, 700), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 240, 3)
    assert found_boxes(film) == []
    cv2.putText(film, "SUPINE", (200, 300), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 240, 3)
    assert len(found_boxes(film)) == 1


def test_the_same_film_gives_the_same_boxes_and_scale_does_not_matter(plain_film: Film) -> None:
    once, again = find_markers(plain_film), find_markers(plain_film.copy())
    assert (once.boxes_xyxy == again.boxes_xyxy).all()
    assert (once.mask == again.mask).all()
    double = cv2.resize(plain_film, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    assert (find_markers(double).boxes_xyxy == 2 * once.boxes_xyxy).all()


def test_bad_input_is_named(plain_film: Film) -> None:
    with pytest.raises(ValueError, match=r"markers 'blur': expected one of keep, mask, inpaint"):
        remove_markers(plain_film, "blur")
    with pytest.raises(ValueError, match=r"expected grey uint8 \(H, W\), got float32"):
        find_markers(plain_film.astype(np.float32))
