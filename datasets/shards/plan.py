"""Plan which images go into which shard, from the sorted index and equally for every engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards.format import SCHEMA_VERSION, Encoding, ShardInput, ShardKind


@dataclass(frozen=True)
class ShardPlan:
    """One task: the images of one shard, decoded once for every size.

    Attributes:
        out: output folder, absolute path or URL.
        images_at: folder or URL to which `sources` are relative; empty for local paths.
        split: directory of the shard.
        number: number of the shard in its split.
        radiographs: the images, sorted by image id.
        sources: the file of each image.
        sizes, encoding, diseases, input, clahe_clip: see `ShardKind`.
    """

    out: str
    images_at: str
    split: str
    number: int
    radiographs: tuple[Radiograph, ...]
    sources: tuple[str, ...]
    sizes: tuple[int, ...]
    encoding: Encoding
    diseases: tuple[str, ...]
    input: ShardInput = "grey"
    clahe_clip: float = 0.0

    def kind(self, size: int) -> ShardKind:
        return ShardKind(size, self.encoding, self.diseases, self.input, self.clahe_clip)

    def whole_source(self, source: str) -> str:
        """Path or URL of one of `sources`."""
        return f"{self.images_at.rstrip('/')}/{source}" if self.images_at else source

    def known(self) -> str:
        """The index's facts on the images, in order, and their destination."""
        lines = [f"{self.split} {self.number}"]
        for r in self.radiographs:
            labels = [r.labels.get(disease) for disease in self.diseases]
            lines.append(f"{r.image_id} {r.patient_id} {labels} {r.size_hw}")
        return "\n".join(lines)

    def key(self, size: int, states: Sequence[tuple[int, str] | None]) -> str:
        """Hash of everything that determines the shard of a size.

        Args:
            states: size and modification time of each source; None for a missing file.
        """
        parts = [SCHEMA_VERSION, asdict(self.kind(size)), self.known(), list(states)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def plan_shards(
    radiographs: Sequence[Radiograph],
    splits: Mapping[str, str],
    out: str,
    *,
    sizes: Sequence[int],
    diseases: Sequence[str],
    encoding: Encoding = "raw",
    input: ShardInput = "grey",
    clahe_clip: float = 0.0,
    rows: int = 512,
    images_at: str = "",
    images_root: Path | None = None,
) -> list[ShardPlan]:
    """Plan all shards: `rows` images each, in the order of image ids, split by split.

    Args:
        splits: image id -> split, for every radiograph.
        images_at: the data set's folder as seen by the tasks, path or URL; if empty, each
            radiograph's own path is read.
        images_root: the part of the radiographs' paths that `images_at` replaces.

    Raises:
        ValueError: for an image without a path, outside `images_root`, in no split or listed
            twice, and for invalid sizes, rows, encoding or input.
    """
    _check(radiographs, splits, sizes, rows)
    root = images_root if images_at else None
    plans = []
    for split in sorted({splits[r.image_id] for r in radiographs}):
        images = [r for r in radiographs if splits[r.image_id] == split]
        images.sort(key=lambda r: r.image_id)
        for number, begin in enumerate(range(0, len(images), rows)):
            chunk = tuple(images[begin : begin + rows])
            plan = ShardPlan(
                out=_absolute(out),
                images_at=_absolute(images_at),
                split=split,
                number=number,
                radiographs=chunk,
                sources=tuple(_source(image, root) for image in chunk),
                sizes=tuple(sizes),
                encoding=encoding,
                diseases=tuple(diseases),
                input=input,
                clahe_clip=clahe_clip,
            )
            plans.append(plan)
    for size in sizes:
        plans[0].kind(size)  # the kind checks itself, before any image is read
    return plans


def _absolute(url: str) -> str:
    """Make a path absolute, since tasks may run in another working directory."""
    return url if "://" in url or not url else str(Path(url).absolute())


def _source(image: Radiograph, root: Path | None) -> str:
    path = image.file.absolute()
    if root is None:
        return str(path)
    if not path.is_relative_to(root.absolute()):
        raise ValueError(f"{path} is not in {root}, the folder replaced by images_at")
    return path.relative_to(root.absolute()).as_posix()


def _check(
    radiographs: Sequence[Radiograph], splits: Mapping[str, str], sizes: Sequence[int], rows: int
) -> None:
    if not radiographs:
        raise ValueError("no images to put into shards")
    if not sizes or len(set(sizes)) != len(sizes):
        raise ValueError(f"size: got {list(sizes)}, expected one or more different sizes")
    if rows < 1:
        raise ValueError(f"rows: got {rows}, expected at least 1 image per shard")
    seen: set[str] = set()
    for radiograph in radiographs:
        image = radiograph.image_id
        if image not in splits:
            raise ValueError(f"image {image} is in no part of the split")
        if image in seen:
            raise ValueError(f"image {image} is listed twice")
        seen.add(image)
