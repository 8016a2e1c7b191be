"""The Java that Spark runs in: whether it is there, how it is begun, and what its errors say."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from motet.errors import InputError, RunError
from motet.tracebacks import said

__all__ = ["JAVA", "begin_java", "told_by_java"]

JAVA = 17
"""The oldest version of Java that Spark 4 runs on."""
_MAIN = re.compile(r'^Exception in thread "main" [\w.$]+: (.*)', re.MULTILINE)
_SHUT_DOWN = "SparkContext has been shutdown"
_RAISED = re.compile(r"^: [\w.$]+: (.*)", re.MULTILINE)


def begin_java(conf: Any, *, quiet: bool) -> None:
    """Begin the Java of this process, if it has none yet.

    Args:
        conf: the settings that it begins with.
        quiet: whether what it logs is thrown away.

    Raises:
        InputError: when it is not there or too old, or does not begin with these settings.
    """
    from pyspark import SparkContext, java_gateway
    from pyspark.errors import PySparkRuntimeError

    if SparkContext._gateway is not None or "PYSPARK_GATEWAY_PORT" in os.environ:
        return
    check_java()
    launch: Any = java_gateway.launch_gateway
    with tempfile.TemporaryFile() as log:
        try:
            gateway = launch(conf, {"stderr": log} if quiet else {})
        except PySparkRuntimeError as error:
            log.seek(0)
            found = _MAIN.findall(log.read().decode(errors="replace"))
            raise InputError(found[-1] if found else said(error), where="engine spark") from None
    SparkContext._ensure_initialized(gateway=gateway, conf=conf)


def check_java() -> None:
    """See that the Java that Spark will begin is there, and new enough.

    Raises:
        InputError: when it is not.
    """
    home = os.environ.get("JAVA_HOME")
    program = os.path.join(home, "bin", "java") if home else "java"
    hint = f"install Java {JAVA} or newer, such as Debian's openjdk-{JAVA}-jre-headless; JAVA_HOME names its folder"
    try:
        told = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    except OSError as error:
        what = f"Spark needs Java {JAVA} or newer, and {program} cannot be run: {error.strerror}"
        raise InputError(what, where="engine spark", hint=hint) from None
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    if found is None or int(found[1]) < JAVA:
        what = f"Spark needs Java {JAVA} or newer; {program} is {told.strip().partition(chr(10))[0] or 'none'}"
        raise InputError(what, where="engine spark", hint=hint)


@contextmanager
def told_by_java(hint: str = "") -> Iterator[None]:
    """Have errors of Java say what they say, without its traces.

    Args:
        hint: how to mend them.

    Raises:
        RunError: in place of them; those that are of Python stay.
    """
    from py4j.protocol import Py4JJavaError

    try:
        yield
    except Py4JJavaError as error:
        text = said(error)
        found = _RAISED.search(text)
        if found is None or "Traceback (most recent call last)" in text:
            raise
        gone = "the cluster does not answer, or has ended the application"
        raise RunError(gone if found[1] == _SHUT_DOWN else found[1], where="engine spark", hint=hint) from error
