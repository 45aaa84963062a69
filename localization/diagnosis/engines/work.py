"""What is done with an image by `cxrloc predict`, in whatever process: read, predict, write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.images.read import UnreadableImageError, decode_image, read_bytes
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.datasets.readers.loose_images import image_name
from cxrloc.localization.diagnosis.files import output_files
from cxrloc.localization.diagnosis.finished import read_done, source_facts
from cxrloc.localization.diagnosis.to_json import to_json

if TYPE_CHECKING:
    from cxrloc.localization.diagnosis.diagnoser import Diagnoser, Diagnosis
    from cxrloc.localization.dicom_output.source import SourceImage

WRITTEN = ("json", "pictures", "dicom", "table")


@dataclass(frozen=True)
class Task:
    """An image to predict.

    Attributes:
        number: its place in the listing.
        part: of the tables, that its rows go to.
        source: path or URL.
        result: stem of its files in the folder of results.
        path: the source as the tables tell it.
    """

    number: int
    part: int
    source: str
    result: str
    path: str


@dataclass(frozen=True)
class Outcome:
    """What became of an image.

    Attributes:
        task: the image.
        record: as `to_json` makes it, or what a table holds of it; None without a prediction.
        failure: why there is none, without the image's name.
        message: the same, with it.
        warnings: to be passed on to the person who supplied the image, if they were not before.
        before: whether an earlier run did it.
    """

    task: Task
    record: Mapping[str, Any] | None
    failure: str = ""
    message: str = ""
    warnings: tuple[str, ...] = ()
    before: bool = False


@dataclass(frozen=True)
class Work:
    """How images are predicted and what is written of each; the same in every process.

    Attributes:
        out: folder or URL of the results.
        write: some of `WRITTEN`.
        manifest: of the run.
        any_body_part: only warn of DICOM images of another body part than the chest.
    """

    out: str
    write: tuple[str, ...]
    manifest: Mapping[str, Any]
    any_body_part: bool = False

    def do(self, diagnoser: Diagnoser, tasks: Sequence[Task]) -> list[Outcome]:
        """Predict images together, and write their files.

        Raises:
            OSError: if they cannot be written.
        """
        outcomes: list[Outcome] = []
        readable: list[tuple[Task, LoadedImage, SourceImage | None]] = []
        for task in tasks:
            done = self._done(task)
            if done is not None:
                outcomes.append(done)
                continue
            try:
                readable.append((task, *self.read(task)))
            except UnreadableImageError as error:  # which names a URL as if it were a path
                message = f"cannot read image {task.source}: {error.reason}"
                outcomes.append(Outcome(task, None, error.reason, message))
            except ValueError as error:
                outcomes.append(Outcome(task, None, str(error), str(error)))
        diagnoses = diagnoser([image for _, image, _ in readable]) if readable else []
        for (task, image, source), diagnosis in zip(readable, diagnoses, strict=True):
            outcomes.append(self._written(task, image, source, diagnosis))
        return outcomes

    def _done(self, task: Task) -> Outcome | None:
        """What an earlier run made of it, if its JSON tells."""
        if "json" not in self.write:
            return None
        record = read_done(self.out, task.result, task.source, self.manifest)
        return None if record is None else Outcome(task, record, before=True)

    def read(self, task: Task) -> tuple[LoadedImage, SourceImage | None]:
        """The image and, for DICOM output, what its objects need of its file.

        Raises:
            ValueError: naming the file and the fault.
        """
        from cxrloc.localization.dicom_output.source import parse_source

        data = read_source(task.source)  # once, for the pixels and for what objects copy
        path = Path(task.source)
        image = decode_image(data, path, any_body_part=self.any_body_part)
        source = parse_source(data, path.name) if "dicom" in self.write else None
        return replace(image, image_id=image_name(task.source)), source

    def _written(
        self, task: Task, image: LoadedImage, source: SourceImage | None, diagnosis: Diagnosis
    ) -> Outcome:
        if diagnosis.refusal:
            return _failed(task, diagnosis.refusal)
        record = to_json(diagnosis)
        told = record
        if "json" in self.write:  # of an image in a store, its facts take a request
            told = record | {"manifest": {**self.manifest, **source_facts(task.source)}}
        try:
            objects = self._objects(image, diagnosis, source)
        except ValueError as error:
            return _failed(task, str(error))
        storage = Storage.at(self.out)
        outputs = output_files(image, diagnosis, told, self.write)
        for ending, data in (*objects, *outputs):
            with storage.whole_file(f"{task.result}{ending}") as stream:
                stream.write(data)
        return Outcome(task, record, warnings=tuple(diagnosis.warnings))

    def _objects(
        self, image: LoadedImage, diagnosis: Diagnosis, source: SourceImage | None
    ) -> list[tuple[str, bytes]]:
        """Ending and content of each DICOM object."""
        if source is None:
            return []
        from cxrloc.localization.dicom_output.origin import Origin
        from cxrloc.localization.dicom_output.output import dicom_objects, encoded

        settings = {name: self.manifest["config"][name] for name in ("labels", "sizes")}
        origin = Origin(self.manifest["hashes"], settings)
        objects = dicom_objects(image, diagnosis, source, origin)
        return [(ending, encoded(made)) for ending, made in objects.items()]


def _failed(task: Task, reason: str) -> Outcome:
    return Outcome(task, None, reason, f"{task.source}: {reason}")


def read_source(source: str) -> bytes:
    """The bytes of a file at a path or URL.

    Raises:
        UnreadableImageError: if it is missing or may not be read.
    """
    if "://" not in source:
        return read_bytes(Path(source))
    try:
        return Storage.at(source).read("")
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise UnreadableImageError(Path(source), error.strerror or reason) from error


def in_turn(diagnoser: Diagnoser, work: Work, tasks: Iterator[Task]) -> Iterator[Outcome]:
    """Predict images in this process, a batch of the gate at a time."""
    for batch in batches(tasks, diagnoser.gate.batch_size):
        yield from work.do(diagnoser, batch)


def batches(tasks: Iterator[Task], size: int) -> Iterator[list[Task]]:
    """The tasks, `size` at a time."""
    while batch := list(islice(tasks, size)):
        yield batch
