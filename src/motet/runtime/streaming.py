"""Graphs that answer piece by piece: which outputs are the texts of a model, unchanged, and what is given of them meanwhile.

The answer of a graph is the same whether or not somebody listens. A row that is listened to is played alone; a call whose text goes
into an output as it is (of a model node, of a route's arm, of a cascade's last member, here or in a graph inside) is made with a
listener (`motet.system.pieces`), and what was said is held against the answer at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from motet.batch import Batch
from motet.errors import AnswerError
from motet.graph.check import CheckedGraph, outer_outputs
from motet.graph.model import Model
from motet.graph.node import Member, Node
from motet.nodes.cascade import Cascade
from motet.nodes.members import STRING, picks
from motet.nodes.model import ModelNode
from motet.nodes.route import Route
from motet.runtime.executor import Call, Executor, Played, Trace, drive, joined
from motet.runtime.resolve import ModelResolver
from motet.system.patience import check_waited_for
from motet.system.pieces import Say
from motet.threads import side_by_side
from motet.tracebacks import written
from motet.types import ColumnType

__all__ = ["Give", "play_streamed", "streamed_outputs"]

Give = Callable[[int, str, str], None]
"""Takes the place of a row, an output of the graph, and the next piece of its text; may be called in any thread."""
Streamed = Mapping[tuple[str, str], Mapping[str, str]]
"""For each call that is listened to, by the path of its node and the model, its outputs and those of the graph."""


def streamed_outputs(checked: CheckedGraph, resolver: ModelResolver, path: str = "") -> Streamed:
    """Which calls give texts piece by piece that are outputs of a graph; empty where none does.

    Args:
        checked: the graph.
        resolver: finds its models.
        path: the graphs it stands in.
    """
    graph, found = checked.graph, dict[tuple[str, str], dict[str, str]]()
    for output, kind in checked.signature.outputs.items():  # a server may play more, which no answer shows
        name, _, column = checked.canonical[graph.outputs[output]].partition(".")
        node = graph.nodes.get(name)
        if node is None or kind != STRING:
            continue
        for member, theirs in _tellers(checked, node, column):
            for call, own in _called(checked, resolver, (path, name), member, theirs):
                found.setdefault(call, {}).setdefault(own, output)
    return found


def _tellers(checked: CheckedGraph, node: Node, column: str) -> Iterator[tuple[Member, str]]:
    """The members whose answer is a node's as soon as they are asked, and which of their outputs is its column."""
    if isinstance(node, ModelNode):
        yield node.members[0], column
    elif isinstance(node, (Cascade, Route)):
        last = isinstance(node, Cascade)
        unsure = {member.uses for member in node.players[:-1]} if last else set()
        for member in node.players[-1:] if last else node.players:
            outputs = list(_outputs(checked, member.uses))
            if member.uses not in unsure and (theirs := picks(member, outputs, node.output, node.where).get(column)):
                yield member, theirs


def _outputs(checked: CheckedGraph, uses: str) -> Mapping[str, ColumnType]:
    model = checked.graph.models.get(uses)
    return checked.graphs[uses].signature.outputs if model is None else outer_outputs(model, checked.signatures[uses])


def _called(
    checked: CheckedGraph, resolver: ModelResolver, place: tuple[str, str], member: Member, output: str
) -> Iterator[tuple[tuple[str, str], str]]:
    """The calls of models that give an output of a model or graph, and their own outputs."""
    path, node = place
    if member.uses in checked.graphs:
        within = streamed_outputs(checked.graphs[member.uses], resolver, f"{path}{member.uses}/")
        for call, outputs in within.items():
            yield from ((call, own) for own, theirs in outputs.items() if theirs == output)
    elif _streams(checked.graph.models[member.uses], checked.graph.folder, resolver):
        yield (f"{path}{node}", member.uses), output


def _streams(model: Model, folder: str, resolver: ModelResolver) -> bool:
    """Whether a model says its texts while it writes them, and nothing changes or holds them on their way."""
    if model.after or model.has_process or model.batch.pad is not None or "{" in model.uri:
        return False
    located = resolver.locate(model, folder)
    says = getattr(located.handler, "streams", None)
    return says is not None and bool(says(located.source))


class _Text:
    """A text that is given as it grows, also where it is begun anew.

    Args:
        give: takes each piece.
    """

    def __init__(self, give: Callable[[str], None]) -> None:
        self._give, self._pieces = give, list[str]()

    def begin(self) -> Say:
        """What takes it from its beginning.

        What was given before is not given again, nor what follows where that is another, or half of a character (a surrogate),
        which no answer may hold.
        """
        before, place, same = "".join(self._pieces), 0, True

        def say(piece: str) -> None:
            nonlocal place, same
            check_waited_for()
            known = before[place : place + len(piece)]
            place += len(piece)
            same = same and piece.startswith(known) and _can_be_written(piece)
            if same:
                self._add(piece[len(known) :])

        return say

    def _add(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            self._give(piece)

    def end(self, text: str) -> None:
        """Give the rest.

        Raises:
            AnswerError: when it is another text than was given.
        """
        given = "".join(self._pieces)
        if not text.startswith(given):
            raise AnswerError("its answer is another one than the pieces of it that were given already")
        self._add(text[len(given) :])


def _can_be_written(piece: str) -> bool:
    """Whether it has no lone surrogates, which no encoding knows."""
    return written(piece) == piece


class _Listening:
    """A trace that has calls listened to.

    Args:
        streamed: which.
        texts: of the outputs of the graph.
        trace: is given every call; None for nobody.
    """

    def __init__(self, streamed: Streamed, texts: Mapping[str, _Text], trace: Trace | None) -> None:
        self._streamed, self._texts, self._trace = streamed, texts, trace
        self.afterwards = getattr(trace, "afterwards", None)

    def append(self, call: Call, /) -> None:
        """Take a call."""
        if self._trace is not None:
            self._trace.append(call)

    def listeners(self, path: str, uses: str) -> Mapping[str, Callable[[], Say]]:
        """What begins the texts of a call's outputs."""
        return {own: self._texts[output].begin for own, output in self._streamed.get((path, uses), {}).items()}


def play_streamed(
    executor: Executor, batch: Batch, streamed: Streamed, give: Give, trace: Trace | None, at_once: int
) -> Played:
    """Play each row alone, and give the pieces of its texts as they come.

    Args:
        executor: plays in the thread that asks.
        batch: the rows.
        streamed: see `streamed_outputs`.
        give: takes the pieces. What it raises ends the writing.
        trace: is given every call; None for nobody.
        at_once: how many rows may be played at the same time.

    Raises:
        AnswerError: when a text that was given is not the answer's.
    """
    if not len(batch):
        return executor.nothing([])
    outputs = {output for outputs in streamed.values() for output in outputs.values()}

    def play(place: int) -> Played:
        texts = {output: _Text(partial(give, place, output)) for output in outputs}
        played = drive(executor.play(batch.take([place]), _Listening(streamed, texts, trace)))
        for output, text in texts.items():
            if len(played.outputs) and isinstance(value := played.outputs.columns[output][0], str):
                text.end(value)
        return played

    return joined(side_by_side(play, range(len(batch)), at_once, at_once))
