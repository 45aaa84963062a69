"""Find the files of annotations: the ones that are named, or those in a format's usual places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_MOST_NAMED = 5


def given_files(root: Path, asked: Path, ending: str) -> list[Path]:
    """The file, or the files of an ending below the folder, that `--annotations` names.

    Args:
        asked: absolute, below the current folder or below `root`.
        ending: in lower case with its dot.

    Raises:
        FileNotFoundError: if there is no such file or folder, or none of this ending in it.
    """
    path = asked if asked.exists() else root / asked
    if not path.exists():
        raise FileNotFoundError(f"--annotations: no file or folder {asked}, here or below {root}")
    if path.is_file():
        return [path.absolute()]
    files = below(path, ending)
    if not files:
        raise FileNotFoundError(f"--annotations: no {ending} file below {path}")
    return files


def below(root: Path, ending: str) -> list[Path]:
    """All files of an ending below a folder, sorted, without hidden ones."""
    return sorted(
        path.absolute()
        for path in root.rglob("*")
        if path.suffix.lower() == ending
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
        and not _in_prepared_folder(path)
    )


def _in_prepared_folder(path: Path) -> bool:
    """Whether `cxrloc prepare` wrote the file, in an `--out` below the images."""
    return all((path.parent / name).is_file() for name in ("folds.csv", "ground_truth.json"))


def only_one(files: Sequence[Path], root: Path, expected: str) -> Path:
    """The single file.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if there are several.
    """
    if not files:
        raise FileNotFoundError(
            f"no annotations below {root}; expected {expected}, or their place as --annotations"
        )
    if len(files) > 1:
        names = ", ".join(path.relative_to(root).as_posix() for path in files[:_MOST_NAMED])
        raise ValueError(
            f"{len(files)} files below {root} may be the annotations: {names}"
            f"{', ...' if len(files) > _MOST_NAMED else ''}; name the one with --annotations"
        )
    return files[0]
