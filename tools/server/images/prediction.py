"""An uploaded image with its diagnosis, and the views of it that a client may want."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.diagnosis.diagnoser import Diagnosis
from cxrloc.localization.diagnosis.drawing import draw_boxes, draw_heat_maps
from cxrloc.localization.diagnosis.to_json import to_json
from cxrloc.tools.server.http.limits import Limits
from cxrloc.tools.server.http.problems import ProblemError
from cxrloc.tools.server.images.uploads import Upload, read_image

PICTURES = {"boxes": draw_boxes, "heat": draw_heat_maps}


class Engine(Protocol):
    """What the server needs from a `Diagnoser`."""

    def __call__(self, images: Sequence[LoadedImage]) -> list[Diagnosis]: ...


@dataclass(frozen=True)
class Prediction:
    """An image and its diagnosis.

    Attributes:
        upload: the file that the image came in.
        image: its pixels.
        diagnosis: findings, boxes and heat maps.
        seconds: time of `decode` and of `networks`.
    """

    upload: Upload
    image: LoadedImage
    diagnosis: Diagnosis
    seconds: dict[str, float]

    def record(self) -> dict[str, Any]:
        """The JSON record of `localization/diagnosis/to_json.py`."""
        return to_json(self.diagnosis)

    def picture(self, kind: str) -> bytes:
        """A PNG: `boxes` next to the findings, or the `heat` maps."""
        return PICTURES[kind](self.image, self.diagnosis).encoded(".png")


def predict(upload: Upload, engine: Engine, limits: Limits) -> Prediction:
    """Decode and predict one upload.

    Raises:
        ProblemError: what `read_image` raises; 422 for what does not look like a chest.
    """
    began = time.perf_counter()
    image = read_image(upload, limits)
    decoded = time.perf_counter()
    diagnosis = engine([image])[0]
    if diagnosis.refusal:
        raise ProblemError(422, diagnosis.refusal)
    seconds = {"decode": decoded - began, "networks": time.perf_counter() - decoded}
    return Prediction(upload, image, diagnosis, seconds)
