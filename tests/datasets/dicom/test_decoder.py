"""Damaged images: whatever a decoder does, the reader says so and goes on."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate

from cxrloc.datasets.dicom import decoder
from cxrloc.datasets.dicom.decoder import Decoder
from cxrloc.datasets.images.read import UnreadableImageError, decode_image, read_grey
from datasets.dicom.builders import write_dicom

Transcode = Callable[[Path, str], Path]
MakeImage = Callable[[str], Path]
SLEEPS = (sys.executable, "-c", "import time; time.sleep(60)")
ABORTS = (sys.executable, "-c", "import os, sys; sys.stdin.buffer.read(8); os.abort()")
LITTLE_MEMORY = (
    "from cxrloc.datasets.dicom import decoder as d; d.MEMORY_BYTES = 700 * 2**20; d._serve()"
)
SYNTAXES = ("JPEG lossless", "JPEG-LS", "JPEG 2000 lossless")


@pytest.fixture
def image(tmp_path: Path, transcode: Transcode) -> MakeImage:
    """`image("JPEG-LS")`: an image in that syntax; "none" leaves it uncompressed."""

    def make(syntax: str) -> Path:
        rows, columns = np.mgrid[0:90, 0:70]
        stored = (rows * 20 + columns * 7 + (rows * columns) % 11).astype(np.uint16)
        window = {"WindowCenter": 1000, "WindowWidth": 2000}
        path = write_dicom(tmp_path / "image.dcm", stored, window, bits=12)
        return path if syntax == "none" else transcode(path, syntax)

    return make


def mutated(data: bytes, seed: int) -> bytes:
    """Some bytes changed, cut out or put in, half of them in the header."""
    dice = random.Random(seed)
    changed = bytearray(data)
    for _ in range(dice.choice((1, 3, 20))):
        end = len(changed) if dice.random() < 0.5 else min(len(changed), 2500)
        place = dice.randrange(132, end)
        kind = dice.random()
        if kind < 0.6:
            changed[place] = dice.randrange(256)
        elif kind < 0.8:
            del changed[place : place + dice.randrange(1, 40)]
        else:
            changed[place:place] = dice.randbytes(dice.randrange(1, 9))
    return bytes(changed)


def refusal(data: bytes, path: Path) -> str:
    """Why an image is refused, empty where it is read; another error passes."""
    try:
        pixels = decode_image(data, path).pixels
    except UnreadableImageError as error:
        return str(error)
    assert (pixels.dtype, pixels.ndim) == (np.dtype(np.uint8), 2)
    return ""


@pytest.fixture
def no_idle_decoder() -> Iterator[None]:
    decoder._close_all()
    yield
    decoder._close_all()


@pytest.mark.parametrize("name", ["none", "RLE", *SYNTAXES])
def test_a_damaged_image_is_read_or_refused_and_never_anything_else(
    image: MakeImage, name: str
) -> None:
    path = image(name)
    data = path.read_bytes()
    reasons = [refusal(mutated(data, seed), path) for seed in range(60)]
    assert 10 < sum(reason != "" for reason in reasons) < 60
    assert not any(word in reason.upper() for word in ("CANARY", "SECRET") for reason in reasons)
    assert read_grey(path).shape == (90, 70)  # and the next image is read as ever


def test_a_decoder_that_crashes_costs_one_image(image: MakeImage, no_idle_decoder: None) -> None:
    path = image("JPEG 2000 lossless")
    decoder._idle.append(Decoder(ABORTS))
    with pytest.raises(UnreadableImageError, match=r"image\.dcm: .*the decoder crashed"):
        read_grey(path)
    assert read_grey(path).shape == (90, 70)


def test_runs_that_unfold_to_more_than_memory_cost_one_image(
    image: MakeImage, no_idle_decoder: None
) -> None:
    decoder._idle.append(Decoder((sys.executable, "-c", LITTLE_MEMORY)))
    path = image("RLE")
    assert read_grey(path).shape == (90, 70)
    bomb = pydicom.dcmread(path)
    runs = bytes([0x81, 7]) * 4_000_000  # 128 pixels each
    bomb.PixelData = encapsulate([struct.pack("<16L", 2, 64, 64 + len(runs), *[0] * 13) + 2 * runs])
    bomb.Rows = bomb.Columns = 10_000
    bomb.save_as(path)
    with pytest.raises(
        UnreadableImageError, match=r"image\.dcm: cannot decode the pixels \(RLE Lossless\)"
    ):
        read_grey(path)


def test_a_decoder_that_does_not_end_is_ended(no_idle_decoder: None) -> None:
    decoder = Decoder(SLEEPS)
    with pytest.raises(BrokenPipeError):
        decoder.decode(b"x" * 100, seconds=0.2)
    decoder.close()


def test_a_decoder_is_kept_for_the_next_image(image: MakeImage, no_idle_decoder: None) -> None:
    path = image("JPEG-LS")
    read_grey(path)
    [kept] = decoder._idle
    read_grey(path)
    assert decoder._idle == [kept]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_have_decoders_of_their_own(image: MakeImage, method: str) -> None:
    path = image("JPEG-LS")
    expected = read_grey(path)
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map(read_grey, [path] * 4)
    for pixels in found:
        np.testing.assert_array_equal(pixels, expected)
    np.testing.assert_array_equal(read_grey(path), expected)


def test_what_lies_in_the_current_folder_is_not_imported(
    image: MakeImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One may stand in the folder of a foreign disc."""
    path, here = image("JPEG-LS"), tmp_path / "disc"
    here.mkdir()
    for name in ("numpy", "dl"):
        (here / f"{name}.py").write_text(f"open({str(here / 'ran')!r}, 'w')\nraise SystemExit")
    monkeypatch.chdir(here)
    decoder._close_all()  # a process of before has its imports behind it

    assert read_grey(path).shape == (90, 70)
    assert not (here / "ran").exists()


def test_a_decoder_that_loops_ends_by_itself() -> None:
    """Its reader may have been killed."""
    script = (
        "import time\nfrom cxrloc.datasets.dicom import decoder as d\n"
        "d.TIMEOUT_S = -4\nd._answer = lambda data: time.sleep(60)\nd._serve()"
    )
    with subprocess.Popen((sys.executable, "-c", script), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(struct.pack(">Q", 1) + b"x")
        process.stdin.flush()
        assert process.wait(30) == -signal.SIGALRM


def test_an_interrupt_from_the_terminal_does_not_end_the_decoder() -> None:
    """It goes to all processes of the terminal's group; the server answers its running image."""
    decoder = Decoder()
    try:
        assert os.getsid(decoder._process.pid) != os.getsid(0)
    finally:
        decoder.close()
