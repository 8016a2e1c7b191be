"""Three models of different kinds for Fashion-MNIST.

    mlp     two dense layers          sees pixels, knows nothing of pictures
    cnn     two convolutions          sees small patterns, wherever they are
    resnet  residual blocks           sees larger ones, through shortcuts

A model takes pictures as they are stored, uint8 [N, 28, 28]: scaling is its first layer, so it is the same in training
and in serving. It gives logits in training; the exported file gives probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from recipes import DEVIATION, MEAN, NUM_CLASSES


class Scale(nn.Module):
    """uint8 [N, 28, 28] to float32 [N, 1, 28, 28] of mean 0 and deviation 1 over the training rows."""

    def forward(self, image: Tensor) -> Tensor:
        """Scale and add the channel."""
        return ((image.float() / 255 - MEAN) / DEVIATION).unsqueeze(1)


class Drop(nn.Module):
    """Dropout of a quarter of the values, by one random byte each: torch's own draws a number for each, which takes as long as
    the layer before it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The same in serving; in training a value is 0, or a third larger."""
        if not self.training:
            return x
        words = torch.randint(-(2**63), 2**63 - 1, ((x.numel() + 7) // 8,), device=x.device)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= 64
        return x * (kept * (4 / 3))


class Residual(nn.Module):
    """Two convolutions beside a shortcut: He et al., https://arxiv.org/abs/1512.03385."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(*_convolution(inputs, outputs, stride), *_convolution(outputs, outputs)[:-1])
        short = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
        self.short = nn.Sequential(*short) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Add what was learnt to what came."""
        return torch.relu(self.main(x) + self.short(x))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _pooled(inputs: int, outputs: int) -> list[nn.Module]:
    """A convolution that is pooled before all else: what follows has a quarter of the work."""
    convolution, *rest = _convolution(inputs, outputs)
    return [convolution, nn.MaxPool2d(2), *rest]


def _dense(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]


def mlp() -> nn.Module:
    """784-512-256-10, 537,000 weights."""
    return nn.Sequential(
        Scale(), nn.Flatten(), *_dense(784, 512), Drop(), *_dense(512, 256), Drop(), nn.Linear(256, NUM_CLASSES)
    )


def cnn() -> nn.Module:
    """Two convolutions, 16 and 32 channels, with pools and a dense head; 106,000 weights."""
    return nn.Sequential(
        Scale(),
        *_pooled(1, 16),
        *_pooled(16, 32),
        *(nn.Flatten(), Drop(), *_dense(32 * 7 * 7, 64), nn.Linear(64, NUM_CLASSES)),
    )


def resnet() -> nn.Module:
    """A stem of stride 2 and three residual blocks of 16, 32 and 64 channels; 78,000 weights."""
    return nn.Sequential(
        Scale(),
        *_convolution(1, 16, 2),
        *(Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, NUM_CLASSES)),
    )


MODELS: Final[dict[str, Callable[[], nn.Module]]] = {"mlp": mlp, "cnn": cnn, "resnet": resnet}
