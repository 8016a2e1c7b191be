"""Training: functions that run on several workers, over datasets that are cached across epochs.

    import motet as mt

    accuracy = mt.train.distributed(train, recipe, rows, workers=2, checkpoints="checkpoints/")

distributed.py  `distributed`, and how many workers a machine is good for
launch.py       several workers under torch's elastic launcher
joined.py       one worker of several that torchrun has started
worker.py       `Worker`: what the function is given      checkpoints.py  written whole or not at all
data/           datasets

torch is imported when a training begins.
"""

from motet.training.checkpoints import Checkpoints
from motet.training.distributed import default_workers, distributed
from motet.training.worker import TrainingStep, Worker

__all__ = ["Checkpoints", "TrainingStep", "Worker", "default_workers", "distributed"]
