"""PyTorch modules that tests' graphs name."""

import torch


class Net(torch.nn.Module):
    def __init__(self, hidden=8):
        super().__init__()
        self.first = torch.nn.Linear(4, hidden)
        self.last = torch.nn.Linear(hidden, 3)

    def forward(self, x):
        return torch.softmax(self.last(torch.relu(self.first(x))), dim=1)
