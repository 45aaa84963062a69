"""The best epoch, and epochs that are no use."""

from __future__ import annotations

import pytest

from cxrloc.classification.training.fit import best_entry, finite

NAN = float("nan")


def test_a_loss_chooses_its_lowest_and_an_auc_its_highest_epoch_the_first_of_equals() -> None:
    figures = [(0.9, 0.6), (0.5, 0.7), (0.5, 0.8), (0.7, 0.8)]
    history = [{"epoch": n, "val_loss": a, "val_auc": b} for n, (a, b) in enumerate(figures)]
    assert best_entry(history, "val_loss")["epoch"] == 1
    assert best_entry(history, "val_auc")["epoch"] == 2


def test_epochs_whose_loss_is_no_number_are_left_out_and_none_at_all_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    good, bad = {"epoch": 0.0, "val_loss": 1.0}, {"epoch": 1.0, "val_loss": NAN}
    assert finite([good, bad], lr=9) == [good]
    assert "the loss became infinite or NaN" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"never finite; lower train\.lr \(it is 9\)"):
        finite([bad], lr=9)
