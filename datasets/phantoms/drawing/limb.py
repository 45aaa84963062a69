"""Draw one image of the phantom arm: bones, soft tissue, abnormality, exposure, side marker."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.datasets.phantoms.drawing.canvas import FRAME, Array, Canvas, Points, ellipse
from cxrloc.datasets.phantoms.drawing.chest import burn_in
from cxrloc.datasets.phantoms.drawing.chest_skeleton import tubes
from cxrloc.datasets.phantoms.drawing.exposure import Exposure, expose
from cxrloc.datasets.phantoms.drawing.limb_anatomy import Bone, limb
from cxrloc.datasets.phantoms.drawing.sheet import Rectangle

FINDINGS = ("fracture", "hardware", "lesion")
_ANATOMY, _FINDING, _POSE, _EXPOSURE, _NOISE, _MARKER = range(1, 7)  # independent random streams
_RANGES = Exposure(gain=(0.85, 1.2), gamma=(0.9, 1.25), floor=(0, 16), white=(225, 252))
_END = 0.09  # share of a long bone taken by each flared end


@dataclass(frozen=True)
class LimbImage:
    """Content of one image.

    Attributes:
        body_part: a key of `limb_anatomy.LIMBS`.
        finding: a member of `FINDINGS`, or empty for a normal bone.
        left: the side; left images are mirrored and marked L.
        key: seed, patient and study, for the anatomy and the finding.
        view: number of the image in its study; the first is frontal.
    """

    body_part: str
    finding: str
    left: bool
    key: tuple[int, int, int]
    view: int


def render_limb(image: LimbImage, image_size: int = 512) -> npt.NDArray[np.uint8]:
    """Draw one image, (H, W) uint8, bright = dense, with a longer side of `image_size`.

    Anatomy, pose, exposure and noise depend only on the numbers, so images with and without a
    finding differ only by the finding.

    Raises:
        ValueError: for an unknown finding.
    """
    return draw_limb(image, image_size)[0]


def draw_limb(
    image: LimbImage, image_size: int = 512
) -> tuple[npt.NDArray[np.uint8], Rectangle | None]:
    """Like `render_limb`, but also return its side letter's box xyxy in pixels, or None."""
    if image.finding and image.finding not in FINDINGS:
        raise ValueError(f"the phantom cannot draw {image.finding!r}; it draws {FINDINGS}")
    spread = (1.0, 0.35, 0.7, 0.85)[image.view % 4]
    bones = limb(image.body_part, (*image.key[:2], _ANATOMY), spread)
    rng = np.random.default_rng((*image.key, image.view, _POSE))
    canvas = Canvas(image_size, _pose(rng, image.left))
    pixels = _develop(_attenuation(canvas, bones, image), (*image.key, image.view))
    width = round(image_size * rng.uniform(0.62, 1.0))
    start = (image_size - width) // 2
    pixels = np.ascontiguousarray(pixels[:, start : start + width])
    rng = np.random.default_rng((*image.key, image.view, _MARKER))
    return pixels, _mark(pixels, image.left, rng)


def _pose(rng: np.random.Generator, left: bool) -> Points:
    angle = np.deg2rad(np.clip(rng.normal(0, 8), -20, 20))
    scale = rng.uniform(0.82, 1.0)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.diag([-1.0 if left else 1.0, 1.0])
    centre = np.full(2, FRAME / 2)
    return np.column_stack([turn, centre + rng.normal(0, 18, 2) - turn @ centre])


def _attenuation(canvas: Canvas, bones: list[Bone], image: LimbImage) -> Array:
    """About 0 in air, .5 in soft tissue, 1.3 in bone, above 3 in metal."""
    rng = np.random.default_rng((*image.key, _FINDING))
    # drawn for normal bones too, to keep the random stream the same
    long = [n for n, bone in enumerate(bones) if bone.long]
    where, t = long[int(rng.integers(len(long)))], float(rng.uniform(0.32, 0.68))
    strength = float(rng.uniform(0.6, 1.0)) * float(rng.choice([-1, 1]))
    whole = bones[where]
    if image.finding == "fracture":
        bones = [*bones[:where], *_broken(whole, t, strength), *bones[where + 1 :]]
    flesh = canvas.strokes([(b.points, 2.1 * b.width + 46, 1.0) for b in bones], blur=16)
    field = 0.55 * flesh * canvas.blurred(flesh, 40) + _bones(canvas, bones)
    if image.finding == "fracture":
        field -= 0.5 * _bones(canvas, [whole]) * _gap(canvas, whole, t)
    elif image.finding == "hardware":
        field += 2.4 * _plate(canvas, whole, t, strength)
    elif image.finding == "lesion":
        field += _lesion(canvas, whole, t, strength)
    return np.maximum(field, 0)


def _bones(canvas: Canvas, bones: list[Bone]) -> Array:
    shafts = tubes(canvas, [(b.points, b.width) for b in bones], 0.42, 0.40)
    ends = []
    for bone in bones:
        count = max(2, round(_END * len(bone.points)))
        for points, flare in zip(
            (bone.points[:count], bone.points[-count:]), bone.flare, strict=True
        ):
            if flare > 1:
                ends.append((points, bone.width * flare))
    if not ends:
        return shafts
    return np.maximum(shafts, tubes(canvas, ends, 0.52, 0.14))


def _across(bone: Bone, t: float) -> tuple[Points, Points, Points]:
    """The point at t and the unit vectors along and across the bone."""
    point, along = bone.at(t)
    return point, along, np.array([along[1], -along[0]])


def _broken(bone: Bone, t: float, strength: float) -> list[Bone]:
    """Two pieces; the second is shifted across and rotated about the break."""
    point, _, across = _across(bone, t)
    cut = max(2, min(len(bone.points) - 2, round(t * len(bone.points))))
    turn = np.deg2rad(14 * strength)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = (bone.points[cut:] - point) @ matrix.T + point + 0.28 * strength * bone.width * across
    first = replace(bone, points=bone.points[:cut], flare=(bone.flare[0], 1.0))
    return [first, replace(bone, points=moved, flare=(1.0, bone.flare[1]))]


def _gap(canvas: Canvas, bone: Bone, t: float) -> Array:
    """The dark, jagged line of the break."""
    point, along, across = _across(bone, t)
    zigzag = (0.10, -0.06, 0.08, -0.10, 0.04)
    line = [
        point + bone.width * (a * along + s * across)
        for a, s in zip(zigzag, np.linspace(-0.75, 0.75, 5), strict=True)
    ]
    return canvas.strokes([(np.array(line), 0.13 * bone.width, 1.0)], blur=1.5)


def _plate(canvas: Canvas, bone: Bone, t: float, strength: float) -> Array:
    """A plate next to the bone with screws through it."""
    side = float(np.sign(strength))
    shares = np.clip(np.linspace(t - 0.22, t + 0.22, 6), 0.02, 0.98)
    places = [_across(bone, float(share)) for share in shares]
    plate = np.array([point + 0.46 * side * bone.width * across for point, _, across in places])
    screws = [
        (np.array([point + s * side * bone.width * across for s in (0.5, -0.55)]), 12.0, 1.0)
        for point, _, across in places
    ]
    return canvas.strokes([(plate, 0.24 * bone.width, 1.0), *screws], blur=1.2)


def _lesion(canvas: Canvas, bone: Bone, t: float, strength: float) -> Array:
    """A round hole with a dense rim or, in half the patients, a dense spot."""
    (x, y), _, _ = _across(bone, t)
    radius = (0.34 + 0.14 * abs(strength)) * bone.width
    hole, whole = ellipse(x, y, radius, 1.3 * radius), ellipse(x, y, 1.25 * radius, 1.6 * radius)
    core, rim = canvas.fill([hole], blur=4), canvas.fill([whole], blur=4)
    if strength > 0:
        return np.asarray(0.75 * core, np.float32)
    return np.asarray(0.35 * (rim - core) - 0.45 * core, np.float32)


def _develop(depth: Array, key: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    rng, noise = (np.random.default_rng((*key, stream)) for stream in (_EXPOSURE, _NOISE))
    return expose(depth, _RANGES, rng, noise)


def _mark(pixels: npt.NDArray[np.uint8], left: bool, rng: np.random.Generator) -> Rectangle | None:
    """Burn the side letter, upright or mirrored, into a corner; some images have none."""
    if rng.random() < 0.1:
        return None
    across = FRAME * pixels.shape[1] / pixels.shape[0]
    x = float(rng.choice([0.06, 0.82])) * across
    y = float(rng.choice([0.12, 0.93])) * FRAME
    patch = np.zeros_like(pixels)
    burn_in(patch, "L" if left else "R", (round(x), round(y)), float(rng.uniform(1.6, 2.4)), 255)
    if rng.random() < 0.2:  # a lead letter placed the wrong way round
        patch = np.ascontiguousarray(patch[:, ::-1])
    np.maximum(pixels, cv2.convertScaleAbs(patch, alpha=float(rng.uniform(0.82, 1.0))), out=pixels)
    x1, y1, width, height = (float(v) for v in cv2.boundingRect(patch))
    return x1, y1, x1 + width, y1 + height
