"""Requests of no protocol, handed to a gateway on a loop of its own."""

import concurrent.futures

import numpy as np

from motet.batch import hold_as
from motet.serving.batching.request import Request
from motet.serving.config.limits import Limits
from motet.serving.repository.repository import ModelRepository


async def made(graphs, *, threads=None, prepare=None, places=None, **limits):
    repository = ModelRepository(Limits(**limits), threads=threads, prepare=prepare, places=places)
    for graph in graphs:
        repository.add(graph)
    await repository.load_all()
    return repository


class Asked(Request):
    """Notes what it is told; `told` is done with a reply, or with the error."""

    __slots__ = ("times", "told")

    def __init__(self, columns, rows, **options):
        super().__init__(columns, rows, **options)
        self.told, self.times = concurrent.futures.Future(), 0

    def answered(self, reply):
        self.times += 1
        if not self.told.done():
            self.told.set_result(reply)

    def failed(self, error):
        self.times += 1
        if not self.told.done():
            self.told.set_exception(error)

    @property
    def reply(self):
        return self.told.result(20)

    @property
    def error(self):
        return self.told.exception(20)

    def values(self, name="y"):
        reply = self.reply
        column = reply.columns[name][reply.first : reply.end]
        return column.tolist()


def request(served, cls=Asked, rows=None, **columns_and_options):
    """A request for a served graph: arguments that are its inputs are columns."""
    names = [name for name in served.inputs if name in columns_and_options]
    columns = {name: np.asarray(columns_and_options.pop(name)) for name in names}
    held = {}
    for name, column in columns.items():
        kind = served.inputs[name].type
        column = column.astype(kind.numpy_dtype) if kind.dtype not in ("any", "string", "bytes") else column
        held[name] = hold_as(column, kind)
        assert held[name] is not None
    count = len(next(iter(held.values()))) if rows is None else rows
    return cls(held, count, **columns_and_options)


def submit(loop, repository, *asked):
    """Hand requests in, in one tick of the loop: pairs of a name and a request, or `(name, options)`."""

    def submitted():
        made = []
        for name, options in asked:
            served = repository.find(name)
            each = options if isinstance(options, Request) else request(served, **options)
            repository.submit(served, each)
            made.append(each)
        return made

    return loop.call(submitted)
