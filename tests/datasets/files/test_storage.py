"""Files are written whole, on disks and in stores."""

from __future__ import annotations

import hashlib
import threading
import uuid
from pathlib import Path
from typing import IO

import pytest

from cxrloc.datasets.files.storage import Storage


@pytest.fixture(params=["path", "file", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A folder given as a path, as its URL and as the URL of a store."""
    urls = {"path": f"{tmp_path}/a", "file": f"file://{tmp_path}/a"}
    return Storage.at(urls.get(request.param, f"memory://{uuid.uuid4().hex}/a"))


def test_what_is_written_is_read_and_hashed(storage: Storage) -> None:
    with storage.whole_file("deep/er/name.bin") as stream:
        stream.write(b"grey")
    assert storage.read("deep/er/name.bin") == b"grey"
    assert storage.sha256("deep/er/name.bin") == hashlib.sha256(b"grey").hexdigest()
    storage.write_json("list.json", [1, "é"])
    assert storage.read_json("list.json") == [1, "é"]
    [found, absent] = storage.states(["deep/er/name.bin", "nothing"])
    assert found is not None
    assert found[0] == 4
    assert absent is None
    assert not storage.exists("deep")


def test_an_error_leaves_the_old_file_and_no_temporary_one(storage: Storage) -> None:
    storage.write_json("x.json", 1)
    with pytest.raises(TypeError), storage.whole_file("x.json") as stream:
        _write_and_fail(stream)
    assert storage.read_json("x.json") == 1
    storage.write_json("x.json", 2)
    assert storage.read_json("x.json") == 2
    assert [Path(p).name for p in storage.filesystem.find(storage.root)] == ["x.json"]


def test_a_store_that_can_only_be_read_is_named() -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http with it")
    storage = Storage.at("http://127.0.0.1:9/out")
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9/out can only be read; choose another place"):
        storage.write_json("a.json", 1)


def test_a_store_is_asked_for_several_files_at_a_time(tmp_path: Path) -> None:
    store = Storage.at(f"memory://{uuid.uuid4().hex}")
    names = [f"{number}.txt" for number in range(40)]
    for number, name in enumerate(names):
        with store.whole_file(name) as stream:
            stream.write(b"a" * number)
    waiting = threading.Barrier(2, timeout=20)  # is passed by two requests at a time alone
    answer = store.filesystem.info

    def info(path: str) -> object:
        waiting.wait()
        return answer(path)

    store.filesystem.info = info
    try:
        states = store.states(names)
    finally:
        del store.filesystem.info
    assert [state and state[0] for state in states] == list(range(40))


def test_only_disks_have_local_paths(tmp_path: Path) -> None:
    assert Storage.at(f"file://{tmp_path}").local_path("a/b") == tmp_path / "a" / "b"
    assert Storage.at("memory://x").local_path("a") is None
    assert Storage.of_paths().local_path(str(tmp_path)) == tmp_path


def test_a_url_that_nobody_knows_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"cannot open nowhere://a: .*expected a path, or an fsspec URL"
    ):
        Storage.at("nowhere://a")


def _write_and_fail(stream: IO[bytes]) -> None:
    stream.write(b"half")
    raise TypeError
