"""`motet export kubernetes`: manifests and a container file for graphs and workflows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from motet.cli.exits import WRONG, Command

__all__ = ["command"]


@click.group("export", short_help="Write files that other systems run: Kubernetes.")
def command() -> None:
    """Write graphs and workflows as files that other systems run."""


@command.command(
    "kubernetes",
    cls=Command,
    short_help="Write manifests and a container file.",
    exits={0: "the files are written", WRONG: "a wrong graph or option; nothing is written"},
)
@click.argument(
    "targets", metavar="GRAPH.yaml|WORKFLOW.py[:NAME]|FOLDER ...", nargs=-1, required=True, type=click.Path()
)
@click.option("-o", "--output", metavar="DIR", type=click.Path(), required=True, help="The folder to write.")
@click.option(
    "--as",
    "servers",
    type=click.Choice(["deployment", "kserve"]),
    multiple=True,
    help="How graphs are served; may be given twice.  [default: both, in folders of their own]",
)
@click.option(
    "--image", default="", help="The container image.  [default: named after what is exported, and its content]"
)
@click.option("--namespace", default="default", show_default=True, help="Where it is to run.")
@click.option("--replicas", default="2:4", show_default=True, metavar="MIN:MAX", help="Of each graph's server.")
@click.option("--store", default="", metavar="URL", help="Where models are.  [default: a volume of its own]")
@click.option("--storage-class", default="", help="Of the volumes.  [default: the cluster's]")
@click.option("--cache-size", default="10Gi", show_default=True, help="Of the volume of fetched models and results.")
@click.option("--store-size", default="10Gi", show_default=True, help="Of the volume of the store.")
@click.option("--state-size", default="10Gi", show_default=True, help="Of the volume of what a server writes itself.")
@click.option(
    "--package", default="", metavar="SPEC|WHEEL", help="How pip gets Motet.  [default: a wheel of what runs here]"
)
@click.option("--pip", metavar="SPEC", multiple=True, help="A package that no file imports; may be given again.")
@click.option(
    "--base", default="", metavar="IMAGE", help="The image to begin with: NAME@sha256:...  [default: Python's]"
)
@click.option(
    "--extra", "extras", metavar="NAME", multiple=True, help="An extra of Motet that models of a store elsewhere need."
)
@click.option("--set", "parameters", metavar="KEY=VALUE", multiple=True, help="A parameter of the workflow.")
@click.option("--cron", default="", metavar="EXPR", help="When the workflow runs, as in '0 3 * * 1'.  [default: once]")
@click.option("--every", metavar="TIME", help="How often it runs: 15m, 6h, 1d, 7d.  [default: once]")
@click.option(
    "--timezone", default="", metavar="NAME", help="Of --cron, as in Europe/Berlin.  [default: the cluster's]"
)
@click.option("--service-account", default="motet-workflow", show_default=True, help="Whom the workflow's pods run as.")
@click.option(
    "--context",
    metavar="DIR",
    type=click.Path(),
    help="The folder that the image has as /app.  [default: the smallest that fits]",
)
def kubernetes(
    targets: tuple[str, ...],
    output: str,
    servers: tuple[str, ...],
    parameters: tuple[str, ...],
    replicas: str,
    every: str | None,
    **given: Any,
) -> None:
    """Write manifests and a container file.

    A graph becomes a Deployment with Service, autoscaler and probes, and an InferenceService of KServe: apply one of
    the two. A workflow becomes an Argo Workflow, or a CronWorkflow, in which a step of several workers is a TrainJob of
    Kubeflow. A folder stands for the graphs and the workflow.py in it. The image runs the same code and the same
    commands as here.
    """
    from motet.export.kubernetes import SERVERS, ExportSettings, cron_of, export_kubernetes, read_replicas

    if every is not None:
        if given["cron"]:
            raise click.UsageError("give --every or --cron, not both")
        given["cron"] = cron_of(every)

    context = given.pop("context")
    least, most = read_replicas(replicas)
    settings = ExportSettings(
        min_replicas=least, max_replicas=most, context=Path(context) if context else None, **given
    )
    if least == 0 and not servers:
        servers = ("kserve",)  # only Knative starts a server when the first request comes
    found = export_kubernetes(targets, output, settings, servers or tuple(SERVERS), parameters)
    for path in found.files:
        click.echo(path)
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
