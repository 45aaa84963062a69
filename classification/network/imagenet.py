"""The mean and deviation per channel, for values in 0..1, that networks trained on ImageNet expect.

Here and not beside the networks, which need torch: an exported network is used without it.
"""

from __future__ import annotations

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
