"""Settings put into the text of a graph file, so that all else of it stays as it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from motet.errors import GraphError
from motet.graph.yaml import dump

__all__ = ["MARK", "flow", "with_settings"]

MARK = "# Tuned by motet tune"
_Edit = tuple[int, int, str]


def with_settings(
    text: str,
    changes: Mapping[str, Mapping[str, Any]],
    comment: str,
    *,
    section: str = "nodes",
    mark: str = MARK,
    inside: Sequence[str] = (),
) -> str:
    """A graph file with other settings of nodes, or of models.

    Args:
        text: the file.
        changes: by node, or model, the keys that are set, and to what.
        comment: what stands behind `mark` above each of them.
        section: `nodes` or `models`.
        mark: what the line above each of them begins with; one that is there is replaced.
        inside: the graphs of the file that they stand in, the outermost first; empty for those of the graph itself.

    Raises:
        GraphError: when the nodes are not where they can be changed; then the file is to be written anew.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for name in inside:
        root = _entry(_entry(root, "graphs")[1], name)[1]
    nodes = _entry(root, section)[1]
    edits: list[_Edit] = []
    for name, settings in changes.items():
        key, value = _entry(nodes, name)
        if isinstance(value, yaml.ScalarNode) and section == "models":  # its URI alone
            edits.append((value.start_mark.index, value.end_mark.index, flow({"uri": value.value, **settings})))
        else:
            edits += [_set(text, value, setting, flow(new)) for setting, new in settings.items()]
        edits += _commented(text, key, nodes, mark, comment)
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _entry(mapping: Any, name: str) -> tuple[Any, Any]:
    if isinstance(mapping, yaml.MappingNode):
        for key, value in mapping.value:
            if key.value == name:
                return key, value
    raise GraphError(f"there is no {name!r} that can be changed")


def flow(value: Any) -> str:
    """A value on one line."""
    return dump({"x": value}).partition(":")[2].strip()


def _set(text: str, mapping: Any, name: str, new: str) -> _Edit:
    """The edit that sets a key of a node."""
    if not isinstance(mapping, yaml.MappingNode) or not mapping.value:
        raise GraphError("it is no mapping that can be changed")
    for key, value in mapping.value:
        if key.value == name:
            if isinstance(value, yaml.CollectionNode) and not value.flow_style:
                return text.index(":", key.end_mark.index) + 1, _end(value), f" {new}"
            return value.start_mark.index, value.end_mark.index, new
    end = _end(mapping.value[-1][1])
    if mapping.flow_style:
        return end, end, f", {name}: {new}"
    line = text.find("\n", end)
    line = len(text) if line < 0 else line
    return line, line, f"\n{' ' * mapping.value[0][0].start_mark.column}{name}: {new}"


def _end(node: Any) -> int:
    """Where the last thing that is written of a node ends."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _commented(text: str, key: Any, nodes: Any, mark: str, comment: str) -> list[_Edit]:
    """The edit that puts a comment above a node, in the place of one that an earlier tuning left there."""
    line = key.start_mark.index - key.start_mark.column
    if nodes.flow_style or text[line : key.start_mark.index].strip():
        return [(0, 0, f"{mark}{comment}\n")] if not text.startswith(mark) else []
    above = text[:line].rstrip("\n").rfind("\n") + 1
    start = above if text[above:line].strip().startswith(mark) else line
    return [(start, line, f"{' ' * key.start_mark.column}{mark}{comment}\n")]
