"""Sockets that only one user's processes can reach: where they lie, and who finds them."""

import errno
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from motet.system.sockets import FOLDER, OwnSocket, own_sockets, socket_folders


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    folder = tmp_path_factory.mktemp("s") / "run"
    monkeypatch.setenv(FOLDER, str(folder))
    return folder


def test_several_servers_are_found_and_each_leaves_nothing(folder: Any) -> None:
    one, other = OwnSocket("8000"), OwnSocket("8000")
    assert set(own_sockets()) == {one.path, other.path}
    assert all(each.name.startswith("8000-") for each in own_sockets())
    one.close()
    assert list(own_sockets()) == [other.path]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(other.path))
    other.close()
    assert list(folder.iterdir()) == []


def test_nobody_else_may_enter(folder: Any) -> None:
    folder.mkdir(mode=0o755)
    made = OwnSocket("1")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    folder.chmod(0o755)
    assert list(own_sockets()) == []
    made.close()


def test_what_a_server_that_was_killed_left_behind_is_removed(folder: Any) -> None:
    code = "from motet.system.sockets import OwnSocket; import os; OwnSocket('9'); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    (left,) = folder.iterdir()
    assert stat.S_ISSOCK(left.lstat().st_mode)
    other = OwnSocket("10")
    assert list(folder.iterdir()) == [other.path]
    other.close()


def test_a_server_that_is_overrun_is_there(folder: Any) -> None:
    made = OwnSocket("8000")
    made.socket.listen(0)
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    refused = 0
    for each in waiting:
        each.setblocking(False)
        refused += each.connect_ex(str(made.path)) == errno.EAGAIN
    assert refused
    assert list(own_sockets()) == [made.path]
    for each in waiting:
        each.close()
    made.close()


def test_the_next_folder_has_it_where_the_first_cannot(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER)
    session = tmp_path_factory.mktemp("x")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    wrong = [tmp_path_factory.mktemp("y") / ("long" * 30), Path("/proc/none"), session / "file" / "x"]
    (session / "link").symlink_to(session)
    last = session / "motet"
    monkeypatch.setattr("motet.system.sockets.socket_folders", lambda: [*wrong, session / "link", last])
    made = OwnSocket("8000")
    assert made.path.parent == last
    made.close()
    monkeypatch.setattr("motet.system.sockets.socket_folders", lambda: [*wrong, session / "link"])
    with pytest.raises(OSError, match=r"no folder can have a socket .*too long.*/link: it is no folder of this user"):
        OwnSocket("8000")


def test_neither_a_home_nor_a_session_need_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (FOLDER, "HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert socket_folders()[0] == Path(f"/tmp/motet-{os.geteuid()}-run")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert all(each.is_absolute() for each in socket_folders())
    assert all(len(str(each)) < 60 for each in socket_folders()[:2])
    monkeypatch.setenv(FOLDER, "/run/own")
    assert socket_folders() == [Path("/run/own")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes what belongs to somebody else")
def test_a_folder_of_somebody_else_is_not_used(folder: Any) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    with pytest.raises(OSError, match="it is no folder of this user"):
        OwnSocket("8000")
    assert list(own_sockets()) == []
