"""Reading workflows for export: the plan, and the files of the project that it stands on."""

from __future__ import annotations

from collections.abc import Sequence

from motet.export.kubernetes.project import modules_imported
from motet.export.kubernetes.steps import ExportedWorkflow
from motet.workflow.find import find_workflow, read_parameters

__all__ = ["read_workflow"]


def read_workflow(place: str, given: Sequence[str]) -> ExportedWorkflow:
    """Load a workflow and wire it.

    Args:
        place: `FILE.py` or `FILE.py:NAME`.
        given: its parameters, `key=value`.

    Raises:
        GraphError: when there is no such workflow, or it cannot be wired.
        InputError: when a parameter is wrong.
    """
    workflow, path, name = find_workflow(place)
    plan = workflow(**read_parameters(workflow, given))
    return ExportedWorkflow(path.resolve(), name, plan, tuple(given), tuple(sorted(modules_imported(path))))
