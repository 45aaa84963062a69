"""Predict the images of a queue, one after the other, and write their results beside them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cxrloc.datasets.images.read import UnreadableImageError, decode_image
from cxrloc.localization.dicom_output.origin import Origin
from cxrloc.localization.dicom_output.output import (
    DICOM_ENDINGS,
    dicom_objects,
    write_dicom_objects,
)
from cxrloc.localization.dicom_output.source import parse_source
from cxrloc.tools.server.dicom_node.durable_queue.images import DurableQueue, Job
from cxrloc.tools.server.dicom_node.durable_queue.reasons import describe, is_full
from cxrloc.tools.server.dicom_node.durable_queue.spool import sync

if TYPE_CHECKING:
    from cxrloc.localization.diagnosis.diagnoser import Diagnoser

_LOG = logging.getLogger("cxrloc.node")
_ATTEMPTS, _PAUSE_S = 3, 10.0  # for errors that are not the image's, such as want of memory


@dataclass(frozen=True)
class Predictor:
    """Makes results of images.

    Attributes:
        queue: holds the images.
        diagnoser: predicts them.
        origin: models and settings, from which the UIDs of results derive.
        destinations: names of those who get the results.
        any_body_part: reads images of other parts than the chest, too.
        observe: is told what a stage took, in seconds.
    """

    queue: DurableQueue
    diagnoser: Diagnoser
    origin: Origin
    destinations: Sequence[str]
    any_body_part: bool = False
    observe: Callable[[str, float], None] = lambda stage, seconds: None
    _held: list[Job] = field(default_factory=list, init=False)  # had no room for its results

    def step(self) -> bool:
        """Predict one image; returns False if none waits.

        Raises:
            OSError, sqlite3.Error: when the disk is full. That is not the image's fault: it comes
                again at the next step, and no attempt of it is counted.
        """
        job = self._held.pop() if self._held else self.queue.next_received()
        if job is None:
            return False
        try:
            self._predict(job)
        except Exception as error:
            if is_full(error):
                self._held.append(job)
            raise
        return True

    def _predict(self, job: Job) -> None:
        try:
            files = self._results(job)
        except ValueError as error:  # of this image, each time again
            self._fail(job, error.reason if isinstance(error, UnreadableImageError) else str(error))
        except Exception as error:
            if is_full(error):
                raise
            self._again(job, f"{describe(error)}, while it was predicted")
        else:
            self.queue.predicted(job.key, files, self.destinations)
            _LOG.info("%s: predicted", job.key)

    def _again(self, job: Job, reason: str) -> None:
        if job.attempts >= _ATTEMPTS:
            self._fail(job, f"{reason}, {job.attempts} times")
            return
        pause = _PAUSE_S * 2 ** (job.attempts - 1)
        _LOG.warning("%s: %s; again in %.0f s", job.key, reason, pause)
        self.queue.postpone(job.key, reason, pause)

    def _fail(self, job: Job, reason: str) -> None:
        _LOG.error("%s: failed: %s", job.key, reason)
        self.queue.fail(job.key, reason)

    def _results(self, job: Job) -> list[Path]:
        """Write the DICOM objects about an image.

        Raises:
            ValueError: for an image that cannot be read, is refused, or has a header against the
                standard.
        """
        began = time.perf_counter()
        data = job.file.read_bytes()
        image = decode_image(data, job.file, any_body_part=self.any_body_part)
        source = parse_source(data, job.file.name)
        image = replace(image, image_id=job.key)  # it is written on the picture
        decoded = self._passed("decode", began)
        diagnosis = self.diagnoser([image], heat_maps=False)[0]
        if diagnosis.refusal:
            raise ValueError(diagnosis.refusal)
        predicted = self._passed("networks", decoded)
        objects = dicom_objects(image, diagnosis, source, self.origin)
        stem = job.file.with_suffix("")
        write_dicom_objects(objects, stem)
        files = [stem.with_name(stem.name + ending) for ending in DICOM_ENDINGS]
        for path in (*files, stem.parent):
            sync(path)
        self._passed("objects", predicted)
        return files

    def _passed(self, stage: str, since: float) -> float:
        now = time.perf_counter()
        self.observe(stage, now - since)
        return now
