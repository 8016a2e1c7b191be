"""Type checkers see what programs do wrong, and nothing in those that are right."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from motet.engines.engine import Engine
from motet.engines.local.options import BulkOptions, RunOptions
from motet.serving.config.server import AsgiOptions, ServeConfig, ServeOptions
from motet.system.progress import Progress

ROOT = Path(__file__).parents[2]
TYPED = Path(__file__).parent / "typed"


def test_what_a_run_may_be_told_is_what_its_options_are() -> None:
    engines = {"engine": str | Engine, "engine_options": Sequence[str]}
    wanted = {**engines, **get_type_hints(BulkOptions), "progress": Progress | bool | None}
    assert get_type_hints(RunOptions, localns={"Engine": Engine}) == wanted


def test_what_a_server_may_be_told_is_what_its_configuration_has() -> None:
    known = {each.name for each in dataclasses.fields(ServeConfig)} - {"folder", "graphs", "log", "processes"}
    assert set(ServeOptions.__annotations__) == known
    assert known - set(AsgiOptions.__annotations__) == {"host", "port", "grpc_port", "grpc", "tls"}


def mypy(tmp_path: Path) -> Any:
    cache = ROOT / ".mypy_cache" / "programs"
    command = ["mypy", "--strict", "--config-file=", "--follow-imports=silent", f"--cache-dir={cache}", "--no-pretty"]
    done = subprocess.run(
        [sys.executable, "-m", *command, *map(str, sorted(TYPED.glob("*.py")))],
        capture_output=True, text=True, env={**os.environ, "MYPYPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    found = re.findall(r"(\w+)\.py:(\d+): error: (.*)", done.stdout)
    return {(name, int(line), text) for name, line, text in found}


def pyright(tmp_path: Path) -> Any:
    settings = {
        "include": [str(TYPED)], "extraPaths": [str(ROOT / "src")], "typeCheckingMode": "standard", "pythonVersion": "3.11",
    }  # fmt: skip
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = ["-m", "basedpyright", "-p", str(tmp_path), "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {
        (Path(e["file"]).stem, e["range"]["start"]["line"] + 1, e["message"]) for e in found if e["severity"] == "error"
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_a_right_program_passes_and_each_mistake_is_seen(checker: Any, tmp_path: Path) -> None:
    found = checker(tmp_path)
    assert not [each for each in found if each[0] == "right"]
    lines = (TYPED / "wrong.py").read_text().splitlines()
    wanted = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    assert {line for name, line, _ in found if name == "wrong"} == wanted
