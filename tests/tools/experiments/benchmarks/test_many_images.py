"""The benchmark of many images."""

from __future__ import annotations

import pytest

from cxrloc.tools.experiments.benchmarks import many_images


@pytest.mark.slow
def test_each_side_is_a_command_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = many_images._sides

    def two(*of: object) -> dict[str, object]:
        return dict(list(sides(*of).items())[:4:3])  # type: ignore[arg-type]

    monkeypatch.setattr(many_images, "_sides", two)
    table = many_images.many_images_table(32, 64, 1).splitlines()
    assert table[0] == "32 drawn images, ResNet-18 at 64 px, medians of 1"
    assert table[2].startswith("plain torchvision loop, 1 thread")
    assert table[3].startswith("predict, 1 process, table")
    assert float(table[3].split()[-3]) > 0


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least 32"):
        many_images.many_images_table(31, 64, 1)
