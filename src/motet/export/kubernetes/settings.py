"""How an export is to be: what the command's options say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from motet.errors import InputError

__all__ = ["GRPC_PORT", "HTTP_PORT", "ExportSettings", "cron_of", "dns_name", "read_replicas"]

HTTP_PORT = 8000
GRPC_PORT = 8001
MOST_REPLICAS = 1000
_LONGEST_NAME = 52
"""A CronWorkflow adds 11 letters to its name for each run, and 63 are allowed."""
_UNITS = {"Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(rf"([1-9][0-9]*)({'|'.join(_UNITS)})")
_DNS = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9]+([._/:@-]+[A-Za-z0-9]+)*")


@dataclass(frozen=True)
class ExportSettings:
    """How an export is to be.

    Attributes:
        image: the container image that is built from the container file; empty names it after what is exported, with a tag
            that tells its content.
        namespace: where it is to run.
        min_replicas, max_replicas: of a graph's server. Where they are the same nothing scales it.
        store: where trained models are: a URL, or a path in the volume of the cache, `/var/lib/motet/cache/...`; empty
            for a volume of its own that the workflow and the servers share.
        storage_class: of the volumes; empty takes the cluster's own.
        cache_size, store_size, state_size: of the volumes, as Kubernetes writes it; `state` is what a server writes itself.
        package: what pip installs as Motet: empty for a wheel of the files that run here, a requirement, or another wheel.
        pip: further requirements of pip, for what no file imports.
        base: the image to begin with, best by digest: `python:3.13-slim@sha256:...`; empty is Python's of the version here.
        extras: extras of Motet beside those that are found to be needed, such as those of models in the store.
        context: the folder where places in the image begin; None finds the smallest one that holds everything.
        cron: when a workflow runs, as cron writes it; empty for once.
        timezone: of `cron`, such as `Europe/Berlin`; empty is the cluster's.
        service_account: what a workflow's pods run as.
    """

    image: str = ""
    namespace: str = "default"
    min_replicas: int = 2
    max_replicas: int = 4
    store: str = ""
    storage_class: str = ""
    cache_size: str = "10Gi"
    store_size: str = "10Gi"
    state_size: str = "10Gi"
    package: str = ""
    pip: tuple[str, ...] = ()
    base: str = ""
    extras: tuple[str, ...] = ()
    context: Path | None = None
    cron: str = ""
    timezone: str = ""
    service_account: str = "motet-workflow"

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas <= MOST_REPLICAS or self.max_replicas < 1:
            raise InputError(
                f"replicas {self.min_replicas}:{self.max_replicas}", hint=f"MIN:MAX, at most {MOST_REPLICAS}"
            )
        for name, value in (("namespace", self.namespace), ("service account", self.service_account)):
            if not _DNS.fullmatch(value):
                raise InputError(f"{name} {value!r}", hint="lower case letters, digits and dashes, at most 63")
        for value in (self.cache_size, self.store_size, self.state_size):
            if not _SIZE.fullmatch(value):
                raise InputError(f"{value!r} is no size of a volume", hint="a whole number and a unit: 10Gi")
        for image in (self.image, self.base):
            if image and not _IMAGE.fullmatch(image):
                raise InputError(f"{image!r} is no name of an image", hint="REGISTRY/NAME:TAG")
        if self.store and "://" not in self.store and not self.store.startswith("/"):
            raise InputError(
                f"the store {self.store!r} has no meaning in a container", hint="give a URL, or a path in a volume"
            )
        if self.cron and len(self.cron.split()) != 5:
            raise InputError(f"{self.cron!r} is no time of cron", hint="minute hour day month weekday: 0 3 * * 1")

    @property
    def cache_bytes(self) -> int:
        """What is kept in the cache at the most: a fifth of its volume is left, so that a pod is never put out for it."""
        size = _SIZE.fullmatch(self.cache_size)
        assert size is not None, "sizes are checked when settings are made"
        return int(size[1]) * _UNITS[size[2]] * 4 // 5


def read_replicas(text: str) -> tuple[int, int]:
    """`MIN:MAX`, or one number for both.

    Raises:
        InputError: when it is neither.
    """
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text.strip())
    if match is None:
        raise InputError(f"{text!r} is no number of replicas", hint="write MIN:MAX, as in 2:8, or one number")
    return int(match[1]), int(match[2] or match[1])


def cron_of(every: str) -> str:
    """A time between runs as cron writes it: minutes that an hour is made of, hours that a day is, a day, or a week.

    Raises:
        InputError: when cron cannot say it.
    """
    match = re.fullmatch(r"(\d+)\s*(m|min|h|d|w)", every.strip())
    number, unit = (int(match[1]), match[2][0]) if match else (0, "")
    if unit == "m" and number and 60 % number == 0:
        return f"*/{number} * * * *" if number < 60 else "0 * * * *"
    if unit == "h" and number and 24 % number == 0:
        return f"0 */{number} * * *" if number < 24 else "0 0 * * *"
    if (unit, number) == ("d", 1):
        return "0 0 * * *"
    if (unit, number) in (("d", 7), ("w", 1)):
        return "0 0 * * 0"
    raise InputError(
        f"cron cannot say every {every!r}",
        hint="minutes that divide 60, hours that divide 24, 1d, 7d; else give --cron",
    )


def dns_name(name: str) -> str:
    """A name as Kubernetes allows it: lower case letters, digits and dashes, at most 52.

    Raises:
        InputError: when nothing is left of it.
    """
    found = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_LONGEST_NAME].strip("-")
    if not found:
        raise InputError(f"{name!r} has no letter or digit that a name in Kubernetes may have")
    return found if found[0].isalpha() else f"m-{found}"[:_LONGEST_NAME].strip("-")
