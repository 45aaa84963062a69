"""Define the phantom arm: bones of MURA's seven body parts as centre lines in the 1024 frame.

This is a drawing, not an atlas. Number, order, length and thickness of the bones are roughly right,
so the parts look different and a broken or plated bone looks wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cxrloc.datasets.phantoms.drawing.canvas import Points

_STEPS = 24


@dataclass(frozen=True)
class Bone:
    """A bone as a tube along a line.

    Attributes:
        points: (N, 2) centre line, x to the right and y down, 1024 frame.
        width: width of the shaft.
        flare: width of the two ends, as multiples of the shaft's.
        long: whether the bone has a shaft that can show a finding.
    """

    points: Points = field(repr=False)
    width: float
    flare: tuple[float, float] = (1.0, 1.0)
    long: bool = True

    def at(self, t: float) -> tuple[Points, Points]:
        """The point at share t of the line, and the unit vector along the bone there."""
        place = t * (len(self.points) - 1)
        index = min(int(place), len(self.points) - 2)
        step = self.points[index + 1] - self.points[index]
        return self.points[index] + (place - index) * step, step / np.linalg.norm(step)


def limb(body_part: str, seed: tuple[int, ...], spread: float) -> list[Bone]:
    """Bones of one body part of one patient.

    Args:
        body_part: a key of `LIMBS`.
        seed: seed of the patient's proportions, equal in all views.
        spread: 1 for the frontal view; smaller for more lateral views, where bones overlap.
    """
    return LIMBS[body_part](np.random.default_rng(seed), spread)


def _line(
    start: tuple[float, float],
    end: tuple[float, float],
    width: float,
    *,
    bow: float = 0.0,
    flare: tuple[float, float] = (1.3, 1.3),
    long: bool = True,
) -> Bone:
    """A bone from start to end, its middle displaced by `bow` from the straight line."""
    t = np.linspace(0, 1, _STEPS)[:, None]
    a, b = np.array(start, dtype=np.float64), np.array(end, dtype=np.float64)
    across = np.array([b[1] - a[1], a[0] - b[0]]) / max(float(np.hypot(*(b - a))), 1.0)
    return Bone(a + t * (b - a) + bow * 4 * t * (1 - t) * across, width, flare, long)


def _humerus(rng: np.random.Generator, spread: float) -> list[Bone]:
    width = rng.uniform(88, 112)
    head = 512 + 34 * spread
    return [
        _line((head, 90), (512, 930), width, bow=rng.uniform(-12, 12), flare=(1.75, 1.9)),
        _line((470, 985), (470, 1100), 66, long=False),
        _line((560, 985), (560, 1100), 60, long=False),
    ]


def _forearm(rng: np.random.Generator, spread: float) -> list[Bone]:
    half, thin = 66 * spread + 8, rng.uniform(50, 64)
    return [
        _line((512 + half, 80), (512 + half, 930), thin + 8, bow=18 * spread, flare=(1.15, 1.8)),
        _line((512 - half, 40), (512 - half, 915), thin, bow=-10 * spread, flare=(1.7, 1.1)),
        _line((500, -80), (505, 20), 120, flare=(1.0, 1.3), long=False),
    ]


def _elbow(rng: np.random.Generator, spread: float) -> list[Bone]:
    bend = (1 - spread) * rng.uniform(1.0, 1.5)  # radians: flexed from the side
    half, width = 44 * spread + 6, rng.uniform(96, 116)
    ends = [(512 + d + 520 * np.sin(bend), 560 + 520 * np.cos(bend)) for d in (half, -half)]
    return [
        _line((512, -20), (512, 500), width, flare=(1.0, 1.8)),
        _line((512 + half, 585), ends[0], 62, flare=(1.35, 1.0)),
        _line((512 - half, 545), ends[1], 66, flare=(1.6, 1.0)),
    ]


def _wrist(rng: np.random.Generator, spread: float) -> list[Bone]:
    half = 72 * spread + 8
    arm = [
        _line((512 + half, 1080), (512 + half, 650), 84, flare=(1.0, 1.6)),
        _line((512 - half, 1080), (512 - half, 665), 62, flare=(1.0, 1.35)),
    ]
    return [*arm, *_carpals(512, 545, spread, rng), *_rays(rng, spread, 450, (430,), 50)]


def _hand(rng: np.random.Generator, spread: float) -> list[Bone]:
    half = 52 * spread + 6
    arm = [
        _line((512 + half, 1100), (512 + half, 925), 66, flare=(1.0, 1.6)),
        _line((512 - half, 1100), (512 - half, 935), 48, flare=(1.0, 1.3)),
    ]
    lengths = (215, 140, 90, 62)
    return [*arm, *_carpals(512, 845, 0.8 * spread, rng), *_rays(rng, spread, 770, lengths, 38)]


def _carpals(x: float, y: float, spread: float, rng: np.random.Generator) -> list[Bone]:
    """Two rows of four small bones."""
    bones = []
    for row in (0, 1):
        for column in range(4):
            at = x + (column - 1.5) * 74 * spread + rng.normal(0, 5), y - 66 * row
            size = rng.uniform(46, 62)
            bones.append(_line(at, (at[0] + 8, at[1] + 6), size, flare=(1, 1), long=False))
    return bones


def _rays(
    rng: np.random.Generator, spread: float, y: float, lengths: tuple[float, ...], width: float
) -> list[Bone]:
    """Five fingers pointing up from a row at `y`, each with bones of these lengths."""
    bones = []
    for ray in range(5):
        turn = (ray - 2) * 0.13 * spread + rng.normal(0, 0.02)
        scale = (0.72, 0.95, 1.0, 0.94, 0.8)[ray]
        foot = np.array([512 + (ray - 2) * 66 * spread, y + (40 if ray == 0 else 0)])
        for number, length in enumerate(lengths[:3] if ray == 0 else lengths):
            tip = foot + scale * length * np.array([np.sin(turn), -np.cos(turn)])
            thick = width * (1 - 0.14 * number)
            bones.append(_line((foot[0], foot[1]), (tip[0], tip[1]), thick, flare=(1.35, 1.25)))
            foot = tip + 16 * np.array([np.sin(turn), -np.cos(turn)])
    return bones


def _finger(rng: np.random.Generator, spread: float) -> list[Bone]:
    bend = (1 - spread) * rng.uniform(0.2, 0.5)
    foot, bones = np.array([512.0, 990.0]), []
    for number, (length, width) in enumerate(((400, 104), (255, 88), (165, 70))):
        along = np.array([np.sin(bend * number), -np.cos(bend * number)])
        tip = foot + length * along
        bones.append(_line((foot[0], foot[1]), (tip[0], tip[1]), width, flare=(1.4, 1.3)))
        foot = tip + 26 * along
    return [*bones, _line((512, 1120), (512, 1030), 120, flare=(1, 1.3), long=False)]


def _shoulder(rng: np.random.Generator, spread: float) -> list[Bone]:
    width = rng.uniform(92, 112)
    return [
        _line((350, 330), (300, 1040), width, flare=(1.9, 1.0)),
        _line((1010, 150), (430, 190), 48, bow=-46 * spread, flare=(1.3, 1.3)),
        _line((500, 300), (560, 470), 60, flare=(1.2, 1.0), long=False),  # glenoid
        _line((560, 300), (900, 250), 40, flare=(1.0, 1.0), long=False),  # spine of the scapula
        _line((560, 470), (760, 900), 34, flare=(1.2, 1.0), long=False),  # margin of the scapula
        *(
            _line((760, 300 + 130 * n), (1060, 430 + 130 * n), 34, bow=60, long=False)
            for n in range(4)
        ),
    ]


LIMBS: dict[str, Callable[[np.random.Generator, float], list[Bone]]] = {
    "XR_ELBOW": _elbow,
    "XR_FINGER": _finger,
    "XR_FOREARM": _forearm,
    "XR_HAND": _hand,
    "XR_HUMERUS": _humerus,
    "XR_SHOULDER": _shoulder,
    "XR_WRIST": _wrist,
}
