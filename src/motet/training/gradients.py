"""Gradients that are averaged over workers when a backward pass ends, and what else of modules workers have in common.

    backward() ──► a gradient is there ──► at the end of the pass, once: which are there anywhere? ──► their mean, everywhere

The modules stay what they are: their methods, attributes and state are as with one worker, whatever way their parameters
are reached, and parameters that a step does not use have no gradient. DistributedDataParallel is a module around the module,
and counts on being called itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["Gradients"]


class Gradients:
    """The gradients of modules that several workers train, after `torch.distributed` has begun.

    Every worker adds the same modules in the same order, and calls `backward` as often as the others.
    """

    def __init__(self) -> None:
        self._modules: list[Any] = []
        self._pass = -1

    def add(self, module: Any) -> None:
        """Take a module: all workers begin with worker 0's parameters and buffers.

        Raises:
            RuntimeError: of torch, when the modules of the workers are of different shapes.
        """
        import torch

        with torch.no_grad():
            _take_first([*module.parameters(), *module.buffers()])
        for parameter in module.parameters():
            wanted = parameter.requires_grad
            parameter.requires_grad_(True)  # one that is frozen now may be trained later
            parameter.register_post_accumulate_grad_hook(self._there)
            parameter.requires_grad_(wanted)
        self._modules.append(module)

    def _there(self, _parameter: Any) -> None:
        """A gradient is there. The first of a pass asks to be called at its end."""
        import torch

        current = torch._C._current_graph_task_id()
        if self._pass != current:  # a pass that failed never ends, so that nothing could be put back there
            self._pass = current
            torch.autograd.Variable._execution_engine.queue_callback(self._average)

    def _average(self) -> None:
        """Give all workers the mean of their gradients; a worker without one counts as zero, if another has one."""
        import torch
        import torch.distributed as dist

        with torch.no_grad():
            parameters = _once(each for module in self._modules for each in module.parameters() if each.requires_grad)
            kinds = [0 if each.grad is None else 1 + each.grad.is_sparse for each in parameters]
            found = torch.tensor(kinds, dtype=torch.uint8, device=parameters[0].device)
            dist.all_reduce(found, dist.ReduceOp.MAX)
            dense = []
            for parameter, kind in zip(parameters, found.tolist(), strict=True):
                if kind and parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                    parameter.grad = parameter.grad.to_sparse(1) if kind == 2 else parameter.grad
                if kind == 2:
                    parameter.grad = parameter.grad.coalesce()
                    dist.all_reduce(parameter.grad)
                    parameter.grad.div_(dist.get_world_size())
                elif kind:
                    dense.append(parameter.grad)
            for same in _alike(dense):
                flat = torch.cat([each.flatten() for each in same])
                dist.all_reduce(flat)
                _spread(flat.div_(dist.get_world_size()), same)
            _take_first([each for module in self._modules for each in module.buffers()])


def _take_first(tensors: Iterable[Any]) -> None:
    """Give all workers what worker 0 has in these tensors."""
    import torch
    import torch.distributed as dist

    for same in _alike(_once(tensors)):
        flat = torch.cat([each.detach().flatten() for each in same])
        dist.broadcast(flat, 0)
        _spread(flat, same)


def _alike(tensors: Iterable[Any]) -> list[list[Any]]:
    """Tensors of one type and place, which travel together."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for each in tensors:
        groups.setdefault((str(each.dtype), str(each.device)), []).append(each)
    return list(groups.values())


def _spread(flat: Any, tensors: list[Any]) -> None:
    """Write what was joined back to where it came from."""
    parts = flat.split([each.numel() for each in tensors])
    for each, part in zip(tensors, parts, strict=True):
        each.copy_(part.view(each.shape))


def _once(tensors: Iterable[Any]) -> list[Any]:
    return list({id(each): each for each in tensors}.values())
