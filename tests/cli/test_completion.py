"""Shells complete commands, options, choices, graph files and models of a store, and wait for no heavy import."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MOTET = Path(sys.executable).with_name("motet")
HEAVY = ("numpy", "pyarrow", "msgspec", "fsspec", "yaml", "asyncio", "rich", "motet.graph", "motet.facade")


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    for name in ("fashion.yaml", "fast.yml", "fashion.parquet", ".fa.yaml", "two words.yaml"):
        (tmp_path / name).touch()
    for name in ("digits", "clothes", ".lock"):
        (tmp_path / "store" / name).mkdir(parents=True)
    return tmp_path


def offered(folder: Any, words: Any, **environment: Any) -> Any:
    """What bash is given for the last word: how it is to be completed, and by what."""
    said = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_MOTET_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [MOTET], cwd=folder, env={**os.environ, **said, **environment}, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("motet dra", ["plain,draw"]),
        ("motet workflow sh", ["plain,show"]),
        ("motet draw --fo", ["plain,--format"]),
        ("motet draw --format m", ["plain,mermaid"]),
        ("motet schema ", ["plain,graph", "plain,serve"]),
        ("motet check fas", ["plain,fashion.yaml", "plain,fast.yml"]),
        ("motet check s", ["file,s"]),  # through a folder, as the shell does it
        ("motet serve fashion.yaml fast", ["plain,fast.yml"]),
        ("motet draw fashion.yaml -o f", ["file,f"]),
        ("motet store ls ", ["plain,clothes", "plain,digits"]),
        ("motet store promote d", ["plain,digits"]),
        ("motet store show --store elsewhere d", []),
    ],
)
def test_what_bash_is_offered(folder: Any, words: str, expected: Any) -> None:
    assert offered(folder, words) == expected


def test_the_store_is_that_of_the_environment_or_of_the_command(folder: Any, tmp_path: Path) -> None:
    (tmp_path / "other" / "birds").mkdir(parents=True)
    assert offered(folder, "motet store ls ", MOTET_STORE="other") == ["plain,birds"]
    assert offered(folder, "motet store ls --store other ") == ["plain,birds"]
    assert offered(folder, "motet store ls ", MOTET_STORE="s3://bucket/store") == []


def test_bash_completes(folder: Any) -> None:
    """A real bash, at a terminal: what is typed is followed by the key for completion, and run."""
    parent, child = pty.openpty()
    environment = {**os.environ, "PATH": f"{MOTET.parent}:{os.environ['PATH']}", "PS1": "> ", "TERM": "dumb"}
    bash = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"], stdin=child, stdout=child, stderr=child, cwd=folder, env=environment,
        start_new_session=True,
    )  # fmt: skip
    os.close(child)
    try:
        ran = b"motet() { printf 'ran %s\\n' \"$*.\"; }"  # the key still asks the program
        os.write(parent, b'eval "$(_MOTET_COMPLETE=bash_source motet)"; ' + ran + b"\n")
        for typed, run in (
            (b"motet dra\tfashi\t--form\tme\t", b"ran draw fashion.yaml --format mermaid."),
            (b"motet store rollb\tdig\t", b"ran store rollback digits."),
            (b"motet draw fashion.yaml -o fashion.p\t", b"ran draw fashion.yaml -o fashion.parquet."),
        ):
            os.write(parent, typed + b"\n")
            read_until(parent, run)
    finally:
        bash.kill()
        bash.wait()
        os.close(parent)


def read_until(file: Any, wanted: Any) -> Any:
    found = b""
    while wanted not in found:
        found += os.read(file, 4096)
    return found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str) -> None:
    environment = {**os.environ, "_MOTET_COMPLETE": f"{shell}_source"}
    script = subprocess.run([MOTET], env=environment, capture_output=True, text=True, check=True).stdout
    assert f"_MOTET_COMPLETE={shell}_complete" in script


def test_no_command_imports_what_is_heavy(folder: Any) -> None:
    script = (
        "import sys, click\n"
        "from click.shell_completion import BashComplete\n"
        "from motet.cli import cli\n"
        "complete = BashComplete(cli, {}, 'motet', '_MOTET_COMPLETE').get_completions\n"
        "def look(path, command):\n"
        "    assert complete(path, '--'), path\n"
        "    complete(path, '')\n"
        "    for name in command.list_commands(None) if isinstance(command, click.Group) else ():\n"
        "        look([*path, name], command.get_command(None, name))\n"
        "look([], cli)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
