"""Which films go into which shard: decided from the sorted index, the same for every engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards.format import SCHEMA_VERSION, Encoding, ShardInput, ShardKind


@dataclass(frozen=True)
class ShardPlan:
    """One task: the films of one shard, made at every size out of one decoding.

    Attributes:
        out: output folder, absolute path or URL.
        films_at: folder or URL that `sources` are relative to; empty for local paths.
        split: directory of the shard.
        number: of the shard in its split.
        radiographs: its films, sorted by image id.
        sources: the file of each.
        sizes, encoding, diseases, input, clahe_clip: see `ShardKind`.
    """

    out: str
    films_at: str
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
        return f"{self.films_at.rstrip('/')}/{source}" if self.films_at else source

    def known(self) -> str:
        """What the index says of the films, in their order, and where they go."""
        lines = [f"{self.split} {self.number}"]
        for r in self.radiographs:
            labels = [r.labels.get(disease) for disease in self.diseases]
            lines.append(f"{r.image_id} {r.patient_id} {labels} {r.size_hw}")
        return "\n".join(lines)

    def key(self, size: int, states: Sequence[tuple[int, int] | None]) -> str:
        """Hash of all that the shard of a size is made from.

        Args:
            states: of each source its size and time of change, None for a file that is not there.
        """
        parts = [SCHEMA_VERSION, self.kind(size).about(), self.known(), list(states)]
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
    films_at: str = "",
    films_root: Path | None = None,
) -> list[ShardPlan]:
    """Plans of all shards: `rows` films each, in the order of image ids, split by split.

    Args:
        splits: image id -> split, for every radiograph.
        films_at: the data set's folder as the tasks see it, path or URL; empty reads each
            radiograph's own path.
        films_root: the part of the radiographs' paths that `films_at` stands for.

    Raises:
        ValueError: for a film without a path, outside of `films_root`, in no split or listed twice,
            and for bad sizes, rows, encoding or input.
    """
    _check(radiographs, splits, sizes, rows)
    root = films_root if films_at else None
    plans = []
    for split in sorted({splits[r.image_id] for r in radiographs}):
        films = [r for r in radiographs if splits[r.image_id] == split]
        films.sort(key=lambda r: r.image_id)
        for number, begin in enumerate(range(0, len(films), rows)):
            mine = tuple(films[begin : begin + rows])
            plan = ShardPlan(
                out=_absolute(out),
                films_at=_absolute(films_at),
                split=split,
                number=number,
                radiographs=mine,
                sources=tuple(_source(film, root) for film in mine),
                sizes=tuple(sizes),
                encoding=encoding,
                diseases=tuple(diseases),
                input=input,
                clahe_clip=clahe_clip,
            )
            plans.append(plan)
    for size in sizes:
        plans[0].kind(size)  # checks itself, before any film is read
    return plans


def _absolute(url: str) -> str:
    """Tasks may run in another working directory."""
    return url if "://" in url or not url else str(Path(url).absolute())


def _source(film: Radiograph, root: Path | None) -> str:
    if film.path is None:
        raise ValueError(f"{film.image_id} has no file; give only films that are on disk")
    path = film.path.absolute()
    if root is None:
        return str(path)
    if not path.is_relative_to(root.absolute()):
        raise ValueError(f"{path} is not in {root}, the folder that films_at stands for")
    return path.relative_to(root.absolute()).as_posix()


def _check(
    radiographs: Sequence[Radiograph], splits: Mapping[str, str], sizes: Sequence[int], rows: int
) -> None:
    if not radiographs:
        raise ValueError("there are no films to put into shards")
    if not sizes or len(set(sizes)) != len(sizes):
        raise ValueError(f"size: got {list(sizes)}, expected one or more, each once")
    if rows < 1:
        raise ValueError(f"rows: got {rows}, expected at least 1 film a shard")
    seen: set[str] = set()
    for radiograph in radiographs:
        image = radiograph.image_id
        if image not in splits:
            raise ValueError(f"image {image} is in no part of the split")
        if image in seen:
            raise ValueError(f"image {image} is listed twice")
        seen.add(image)
