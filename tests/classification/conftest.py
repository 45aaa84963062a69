"""Fixtures shared by the tests of classifiers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from cxrloc.classification.network.classifier import ChestClassifier, build_classifier


@pytest.fixture(scope="session")
def normalised_resnet() -> Callable[[int], ChestClassifier]:
    """`normalised_resnet(diseases)`: a ResNet-18 whose normalisation layers have statistics of
    their own, as after training."""

    def build(diseases: int) -> ChestClassifier:
        network = build_classifier("resnet18", diseases, seed=1)[0].eval()
        generator = torch.Generator().manual_seed(0)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                shape = layer.running_mean.shape  # type: ignore[union-attr]
                layer.running_mean = 0.2 * torch.randn(shape, generator=generator)
                layer.running_var = 0.5 + torch.rand(shape, generator=generator)
        return network

    return build
