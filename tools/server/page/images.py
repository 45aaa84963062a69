"""Images that the page shows: held in memory for a while, their pictures and downloads by a key.

A key cannot be guessed: whoever has it may see the image.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from math import isnan, nan
from typing import Any
from urllib.parse import quote

import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from fastapi import FastAPI, Response

from cxrloc.datasets.images.transforms import fitted, resized
from cxrloc.datasets.readers.find_images import stem_of
from cxrloc.localization.diagnosis.diagnoser import Diagnosis
from cxrloc.localization.diagnosis.drawing import fitted_heat
from cxrloc.localization.dicom_output.source import SourceImage
from cxrloc.tools.server.http.problems import ProblemError
from cxrloc.tools.server.images.dicom_files import DICOM_NAMES, dicom_file, source_of
from cxrloc.tools.server.images.dicom_windows import StoredImage, stored_image
from cxrloc.tools.server.images.prediction import Prediction
from cxrloc.tools.server.images.report import report_page
from cxrloc.tools.server.images.uploads import Upload
from cxrloc.tools.server.service import Service

_IMAGE_SIDE, _HEAT_SIDE = 2048, 512
_HELD_BYTES = 1_000_000_000
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PageImage:
    """What is kept of a prediction: pixels of at most 2,048 px a side, no masks, the full record.

    Attributes:
        prediction: for pictures and report.
        record: the JSON record, masks included.
        image_png: the image as the page shows it.
        source: what DICOM objects need of the image's own file; None for other images.
        stored: the values of a DICOM image, to be seen at any window; None for other images.
        key: names it in addresses.
    """

    prediction: Prediction
    record: dict[str, Any]
    image_png: bytes
    source: SourceImage | None = None
    stored: StoredImage | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def size(self) -> int:
        """Bytes held, roughly."""
        stored = 0 if self.stored is None else self.stored.values.nbytes
        return self.prediction.image.pixels.nbytes + 2 * len(self.image_png) + stored

    @cached_property
    def stem(self) -> str:
        return stem_of(self.prediction.image.image_id)

    def png_at(self, center: float, width: float) -> bytes:
        """The image at a window, in its stored values."""
        if self.stored is None:
            raise ProblemError(404, "this image has no stored values other than its picture")
        try:
            return _png(self.stored.grey(center, width))
        except ValueError as error:
            raise ProblemError(422, str(error)) from error

    def heat_png(self, disease: str) -> bytes:
        """The class activation map of a disease, clear where it is cold."""
        diagnosis = self.prediction.diagnosis
        if disease not in diagnosis.heat_maps:
            raise ProblemError(404, f"no heat map of {disease}")
        side = min(_HEAT_SIDE, max(diagnosis.size_hw))
        heat = fitted_heat(diagnosis, disease, fitted(diagnosis.size_hw, side))
        rgba = mpl.colormaps["inferno"](heat)
        rgba[..., 3] = np.sqrt(heat)
        return _png((rgba[..., [2, 1, 0, 3]] * 255).round().astype(np.uint8))

    def json_file(self) -> bytes:
        return json.dumps(self.record, indent=1, allow_nan=False).encode()


def keep(prediction: Prediction) -> PageImage:
    """A prediction without its large parts: the file, full pixels and masks."""
    record = prediction.record()
    pixels = shrunk(prediction.image.pixels, _IMAGE_SIDE)
    image = replace(prediction.image, pixels=pixels, deep=None)
    light = replace(
        prediction,
        upload=Upload(prediction.upload.name, b""),
        image=image,
        diagnosis=_without_masks(prediction.diagnosis),
    )
    try:
        source = source_of(prediction.upload)
    except ProblemError:
        source = None
    stored = stored_image(prediction.upload.data, partial(shrunk, side=_IMAGE_SIDE))
    return PageImage(light, record, _png(image.pixels), source, stored)


def shrunk(pixels: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """Pixels averaged so that the longer side is at most `side`."""
    height, width = pixels.shape[:2]
    if side >= max(height, width):
        return pixels
    return resized(pixels, fitted((height, width), side))


def _without_masks(diagnosis: Diagnosis) -> Diagnosis:
    boxes = {
        name: tuple(replace(box, mask=None) for box in of_disease)
        for name, of_disease in diagnosis.boxes.items()
    }
    return replace(diagnosis, boxes=boxes)


def _png(pixels: npt.NDArray[Any]) -> bytes:
    done, data = cv2.imencode(".png", pixels)
    assert done
    return bytes(data.tobytes())


class PageImages:
    """The images of all open pages; the oldest are dropped when together they grow too large."""

    def __init__(self, held_bytes: int = _HELD_BYTES) -> None:
        self.held_bytes = held_bytes
        self._images: OrderedDict[str, PageImage] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, image: PageImage) -> None:
        with self._lock:
            self._images[image.key] = image
            while len(self._images) > 1 and self._size() > self.held_bytes:
                self._images.popitem(last=False)

    def drop(self, key: str) -> None:
        with self._lock:
            self._images.pop(key, None)

    def get(self, key: str) -> PageImage:
        """Raises 404 for an image that is not held."""
        image = self._images.get(key)
        if image is None:
            raise ProblemError(404, "this image is no longer held; drop it on the page again")
        return image

    def __len__(self) -> int:
        return len(self._images)

    def _size(self) -> int:
        return sum(image.size for image in self._images.values())


def downloads(
    image: PageImage, models: Mapping[str, str]
) -> dict[str, tuple[str, str, Callable[[], bytes]]]:
    """Ending -> name on the page, media type and its maker; DICOM only for DICOM images."""
    seen = image.prediction
    offered: dict[str, tuple[str, str, Callable[[], bytes]]] = {
        "boxes.png": ("Picture with boxes (PNG)", "image/png", partial(seen.picture, "boxes")),
        "heat.png": ("Heat maps (PNG)", "image/png", partial(seen.picture, "heat")),
        "json": ("All figures (JSON)", "application/json", image.json_file),
        "report.html": ("Report (HTML)", "text/html", lambda: report_page(seen).encode()),
    }
    if image.source is not None:
        for kind, name in DICOM_NAMES.items():
            make = partial(dicom_file, seen, image.source, models, kind)
            offered[f"{kind}.dcm"] = (name, "application/dicom", make)
    return offered


def add_image_routes(app: FastAPI, service: Service, images: PageImages) -> None:
    """Addresses that the page's own pictures and links name."""
    private = {"Cache-Control": "no-store"}

    @app.get("/images/{key}/image.png", include_in_schema=False)
    def picture(key: str, center: float = nan, width: float = nan) -> Response:
        image = images.get(key)
        png = image.image_png if isnan(center) and isnan(width) else image.png_at(center, width)
        return Response(png, headers=private, media_type="image/png")

    @app.get("/images/{key}/heat/{disease}.png", include_in_schema=False)
    def heat(key: str, disease: str) -> Response:
        return Response(images.get(key).heat_png(disease), headers=private, media_type="image/png")

    @app.get("/images/{key}/download/{ending}", include_in_schema=False)
    async def download(key: str, ending: str) -> Response:
        image = images.get(key)
        offered = downloads(image, service.models.hashes)
        if ending not in offered:
            raise ProblemError(404, f"{ending} is not one of {', '.join(offered)}")
        _, media, make = offered[ending]
        content = await service.run(make)
        name = quote(f"{image.stem}.{ending}", safe="")
        attached = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        return Response(content, headers=private | attached, media_type=media)
