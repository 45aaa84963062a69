"""What the trainings of both backends share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cxrloc.detection.config import TrainConfig
from cxrloc.detection.training import make_optimizer, torch_threads


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_biases_do_not_decay_and_the_body_learns_slower(name: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    config = TrainConfig(optimizer=name, lr=0.1, weight_decay=0.3, backbone_lr_factor=0.5)  # type: ignore[arg-type]
    groups = make_optimizer(model, config, model[0]).param_groups
    sizes = {(group["lr"], group["weight_decay"]): len(group["params"]) for group in groups}
    assert sizes == {(0.05, 0.3): 1, (0.05, 0.0): 1, (0.1, 0.3): 1, (0.1, 0.0): 1}


def test_a_number_of_threads_holds_for_one_training_only() -> None:
    before = torch.get_num_threads()

    def fails() -> None:
        with torch_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fails()
    assert torch.get_num_threads() == before
    with torch_threads(0):
        assert torch.get_num_threads() == before
