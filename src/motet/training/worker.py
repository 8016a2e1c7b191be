"""What a function that trains is given: who it is among the workers, and what workers do together."""

from __future__ import annotations

import gc
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from motet.errors import InputError, TrainingError
from motet.training.checkpoints import Checkpoints
from motet.training.data.dataset import Dataset
from motet.training.data.readers import Columns
from motet.training.gradients import Gradients
from motet.training.mirrored import arrays_of, is_of_keras, multi_worker_strategy
from motet.training.state import kept, refuse_unkept, refuse_unread, restore

__all__ = ["TrainingStep", "Worker", "leave_group"]

_logger = logging.getLogger("motet.training")


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One step of a training.

    Attributes:
        number: steps done before this one, over all epochs.
        epoch: the epoch, from 0.
        columns: this worker's part of the batch, arrays `[rows, ...]`.
        ends_epoch: whether it is its epoch's last.
    """

    number: int
    epoch: int
    columns: Columns
    ends_epoch: bool


@dataclass
class Worker:
    """One of the processes that train together. It belongs to the thread that the function runs in.

    Attributes:
        rank: its number, from 0; worker 0 writes files.
        num_workers: how many there are.
        device: where its tensors belong: `cpu` or `cuda:N`.
        attempt: how often the workers were started again.
        checkpoints: where the training's checkpoints are; None where none are kept.
    """

    rank: int = 0
    num_workers: int = 1
    device: str = "cpu"
    attempt: int = 0
    checkpoints: Checkpoints | None = None
    clock: Callable[[], float] = time.monotonic
    _models: list[Any] = field(default_factory=list, init=False, repr=False)
    _gradients: Gradients = field(default_factory=Gradients, init=False, repr=False)

    def wrap(self, model: Any) -> Any:
        """Move a `torch.nn.Module` to the worker's device, and average its gradients over the workers from now on.

        It is the module itself, whatever their number. All workers begin with worker 0's parameters and buffers. Gradients
        are averaged when `backward` ends, so each worker calls that as often; a parameter that one worker did not use
        counts as zero there, and one that none used has no gradient. When the function ends, the parameters of all
        workers are compared.

        A model of Keras on TensorFlow is taken as it is, built in the scope of `strategy`: it is compared with the others at
        the end. One on PyTorch is a module as any other.

        Raises:
            TrainingError: when the workers' modules differ in names, shapes or types.
        """
        import torch

        if is_of_keras(model) and not isinstance(model, torch.nn.Module):
            self._models.append(model)
            return model
        model = model.to(self.device)
        self._models.append(model)
        if self.num_workers > 1:
            self._refuse_different(model)
            self._gradients.add(model)
        return model

    def strategy(self) -> Any:
        """TensorFlow's strategy for these workers; every worker must ask, once, before TensorFlow computes anything.

        Models of Keras and optimizers that are made in its `scope()` have variables that are the same in all workers. A
        step is run by `strategy.run` in a `tf.function`; there an optimizer adds up the gradients of all workers, so each divides
        its loss by the rows of all. `Model.fit` of Keras 3 does not run on several workers.

        Raises:
            InputError: when Keras was imported with another backend, or `KERAS_BACKEND` says that it will be.
            MissingExtraError: when TensorFlow is not installed.
        """
        return multi_worker_strategy(self.rank, self.num_workers, lambda values: self._together(values, "sum"))

    def mean(self, value: float) -> float:
        """The mean of all workers' values; every worker must ask."""
        return self._together([value], "sum")[0] / self.num_workers

    def sum(self, value: float) -> float:
        """The sum of all workers' values; every worker must ask."""
        return self._together([value], "sum")[0]

    def steps(
        self,
        dataset: Dataset,
        *,
        batch_rows: int,
        num_epochs: int,
        state: Mapping[str, Any],
        seed: int = 0,
        checkpoint_every_s: float = 10.0,
    ) -> Iterator[TrainingStep]:
        """Go through a training's steps, from its last checkpoint on.

        The body of the loop trains one step. torch's random numbers are fixed by the seed, the step and the rank, so
        that a training that was interrupted makes the same choices again.

        Args:
            dataset: the rows; each worker gets its part.
            batch_rows: rows of a step over all workers, a multiple of their number; a last, smaller batch is left out.
            num_epochs: how often the rows are seen.
            state: what makes up the training, by name: model, optimizer, schedule, anything with `state_dict` and
                `load_state_dict`, or of Keras; and numbers, texts, arrays, lists and dicts of them, changed in it: `state["best"] = 0.9`.
                Restored from the checkpoint before the first step.
            seed: fixes torch's random numbers.
            checkpoint_every_s: seconds between checkpoints; 0 writes one after each step. There is one at the end.

        Raises:
            InputError: when `batch_rows` cannot be shared out, the dataset is none or cannot fill one batch, or an entry of the
                state cannot be kept in a checkpoint.
            TrainingError: when there are checkpoints, and none can be read.
        """
        import torch

        if batch_rows < 1 or batch_rows % self.num_workers:
            raise InputError(
                f"{batch_rows} rows cannot be shared out among {self.num_workers} workers",
                where="batch_rows",
                hint=f"give a multiple of {self.num_workers}",
            )
        if not hasattr(dataset, "shard"):
            hint = "make one: mt.data.arrays(**columns) of arrays by name, mt.data.stored(...) of files"
            raise InputError(f"a {type(dataset).__name__} is no dataset", where="dataset", hint=hint)
        mine = dataset.shard(self.rank, self.num_workers)
        rows = batch_rows // self.num_workers
        per_epoch = self._num_batches(mine, rows)
        done = self._restore(state)
        if done == 0:
            self._save(0, state)
        written = self.clock()
        for epoch in range(done // per_epoch, num_epochs):
            for columns in mine.batches(rows, epoch=epoch, skip=done - epoch * per_epoch):
                _seed(torch, self.device, int(np.random.SeedSequence([seed, done, self.rank]).generate_state(1)[0]))
                yield TrainingStep(done, epoch, columns, done + 1 == (epoch + 1) * per_epoch)
                done += 1
                if self.clock() - written >= checkpoint_every_s or done == num_epochs * per_epoch:
                    self._save(done, state)
                    written = self.clock()

    def check_same(self) -> None:
        """Compare the parameters of the wrapped modules over all workers.

        Raises:
            TrainingError: when they differ.
        """
        import torch

        digest = hashlib.sha256()
        for model in self._models:
            if is_of_keras(model):
                digest.update(b"".join(array.tobytes() for array in arrays_of(model)))
                continue
            for name, parameter in model.named_parameters():
                digest.update(name.encode())
                digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        if self._differs(digest.digest()):
            raise TrainingError(
                f"the {self.num_workers} workers end with different parameters",
                hint="change parameters by an optimizer step after backward() on the wrapped model alone, and alike on every worker",
            )

    def _refuse_different(self, model: Any) -> None:
        told = [(name, str(each.dtype), tuple(each.shape)) for name, each in model.state_dict(keep_vars=True).items()]
        if self._differs(hashlib.sha256(repr(told).encode()).digest()):
            raise TrainingError(
                f"the {self.num_workers} workers wrap modules of different names, shapes or types",
                hint="make the same modules in every worker, in the same order",
            )

    def _differs(self, digest: bytes) -> bool:
        """Whether the workers' digests are not the same; every worker must ask."""
        numbers = [float(byte) for byte in digest]
        return self.num_workers > 1 and self._together(numbers, "min") != self._together(numbers, "max")

    def _num_batches(self, mine: Dataset, rows: int) -> int:
        found = mine.num_batches(rows)
        if found is None:
            raise InputError(
                "does not say how many rows it has, so a training over it could not be resumed",
                where=mine.reader.description,
                hint="cache it, or give num_rows=",
            )
        if not found:
            raise InputError(
                f"has {mine.num_rows} rows, fewer than one batch of {rows * self.num_workers}",
                where=mine.reader.description,
                hint="ask for smaller batches",
            )
        return found

    def _restore(self, state: Mapping[str, Any]) -> int:
        if self.checkpoints is None:
            return 0
        refuse_unkept(state)
        found = self.checkpoints.load()
        if found is None:
            return 0
        restore(state, found["state"])
        return int(found["step"])

    def _save(self, step: int, state: Mapping[str, Any]) -> None:
        if self.checkpoints is None or self.rank != 0:
            return
        parts = kept(state)
        try:
            self.checkpoints.save(step, {"step": step, "state": parts})
        except Exception as error:
            for name, part in parts.items():
                refuse_unread(name, part)
            if step == 0:
                raise TrainingError(
                    f"no checkpoint can be written: {error}",
                    where=str(self.checkpoints.folder),
                    hint="see that the disk has room, and that the folder can be written to",
                ) from error
            _logger.warning("the checkpoint after step %d cannot be written, and the training goes on: %s", step, error)

    def _together(self, values: list[float], how: str) -> list[float]:
        """An allreduce of numbers: `sum`, `min` or `max`."""
        if self.num_workers == 1:
            return values
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, {"sum": dist.ReduceOp.SUM, "min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}[how])
        return [float(value) for value in tensor.tolist()]


def leave_group() -> None:
    """End the group of the workers, and its threads before the interpreter ends, which they could abort.

    The group goes with the last that holds it, and models that were trained hold it in circles.
    """
    import torch.distributed as dist

    dist.destroy_process_group()
    gc.collect()


def _seed(torch: Any, device: str, number: int) -> None:
    """Seed what a step uses; `torch.manual_seed` seeds all devices there could be, which takes a hundred times longer."""
    torch.default_generator.manual_seed(number)
    if device != "cpu":
        torch.cuda.manual_seed(number)
