"""Feed training images to detectron2: COCO registration, dataset dicts, loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, SequentialSampler

from cxrloc.datasets.files.manifest import write_json
from cxrloc.datasets.prepared.coco import to_coco
from cxrloc.detection.config import DetectorConfig
from cxrloc.detection.data import DetectionSet, Sample
from cxrloc.detection.detectron2_backend.network import as_input


def coco_records(data: DetectionSet, path: Path, name: str) -> list[dict[str, Any]]:
    """Convert the images to detectron2's dataset dicts, through its COCO registration.

    Args:
        path: where to write the COCO ground truth, which other tools may use too.
        name: temporary name in detectron2's catalogs.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
    from detectron2.data.datasets import register_coco_instances

    write_json(path, to_coco(data.radiographs, data.diseases))
    register_coco_instances(name, {}, str(path), "")
    try:
        # images without a box are kept: they are the negatives
        records: list[dict[str, Any]] = get_detection_dataset_dicts([name], filter_empty=False)
        assert tuple(MetadataCatalog.get(name).thing_classes) == data.diseases
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    return records


def training_loader(draws: Draws) -> Any:
    from detectron2.data import build_detection_train_loader

    return build_detection_train_loader(
        draws,
        mapper=None,
        sampler=SequentialSampler(draws),
        total_batch_size=draws.batch,
        aspect_ratio_grouping=False,
        # without a seed, creating the iterator draws from the generator seeded by the first step
        seed=draws.config.seed,
    )


class Draws(Dataset[dict[str, Any]]):
    """All the samples of a run, in training order.

    Args:
        records: detectron2's dataset dicts of the training images, with `image_id` from 1 in their
            order.
        first_step: step at which a resumed run continues.
    """

    def __init__(
        self,
        records: list[dict[str, Any]],
        data: DetectionSet,
        config: DetectorConfig,
        first_step: int = 0,
    ) -> None:
        self.records, self.data, self.config = records, data, config
        self.order = data.order(config.seed)
        self.batch = min(config.train.batch_size, len(self.order))
        steps, most = len(self.order) // self.batch, config.train.epoch_steps
        self.steps_per_epoch = min(steps, most) if most else steps
        self.steps = self.steps_per_epoch * config.train.epochs
        self.first_step = first_step
        self._shuffled = -1, np.zeros(0, dtype=np.int64)  # an epoch, and its positions

    def __len__(self) -> int:
        return max(0, self.steps - self.first_step) * self.batch

    def __getitem__(self, number: int) -> dict[str, Any]:
        step, place = divmod(number + self.first_step * self.batch, self.batch)
        epoch, step = divmod(step, self.steps_per_epoch)
        if self._shuffled[0] != epoch:
            self._shuffled = epoch, self.order.positions(epoch)
        record = self.records[self._shuffled[1][step * self.batch + place]]
        return self._mapped(record, epoch)

    def _mapped(self, record: dict[str, Any], epoch: int) -> dict[str, Any]:
        from detectron2.structures import Boxes, Instances, PolygonMasks

        index = record["image_id"] - 1
        seed, augment = self.config.seed, self.config.train.augment
        sample = self.data.sample(index, augment, seed, epoch)
        truth = Instances((self.data.size, self.data.size))
        truth.gt_boxes = Boxes(torch.from_numpy(sample.boxes))
        # in detectron2 background is last, not 0
        truth.gt_classes = torch.from_numpy(sample.labels) - 1
        truth.gt_masks = PolygonMasks(polygons_of(sample))
        return {**record, "image": as_input(sample.square), "instances": truth}


def polygons_of(sample: Sample) -> list[list[npt.NDArray[np.floating]]]:
    """Polygons x1, y1, x2, y2, ... of each finding: its outline, or else its box."""
    return [
        [polygon.reshape(-1) for polygon in outline] or [box[[0, 1, 2, 1, 2, 3, 0, 3]]]
        for box, outline in zip(sample.boxes, sample.outlines, strict=True)
    ]
