"""PyTorch modules that tests' graphs name."""

from typing import Any

import torch


class Net(torch.nn.Module):
    def __init__(self, hidden: Any = 8) -> None:
        super().__init__()
        self.first = torch.nn.Linear(4, hidden)
        self.last = torch.nn.Linear(hidden, 3)

    def forward(self, x: Any) -> Any:
        return torch.softmax(self.last(torch.relu(self.first(x))), dim=1)
