"""An exported image, made and run here: the steps of its container file, in a root of its own, as its user.

There is no builder of images: packages other than Motet are those of this environment, which the list of packages names in
these versions. Where tests run as root, the container's process has the user's number and no other right; elsewhere a
namespace gives it that number.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import yaml

USER = 10001
_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/sbin")


class Image:
    """An image on this disk.

    Args:
        context: the folder that it is built from.
        disk: a folder for its files.
    """

    def __init__(self, context: Path, disk: Path) -> None:
        self.context, self.disk = context, disk
        self.env: dict[str, str] = {}
        self.binds: list[tuple[Path, str]] = []
        self.command: list[str] = []
        self.health: list[str] = []
        for line in (context / "Containerfile").read_text().splitlines():
            word, _, rest = line.partition(" ")
            getattr(self, f"_{word.lower()}", self._said)(rest)

    def _said(self, rest: str) -> None:
        """A line that changes no file."""

    def _copy(self, rest: str) -> None:
        source, target = json.loads(rest)
        shutil.copytree(self.context / source, self.disk / target.lstrip("/"))
        self.binds.append((self.disk / target.lstrip("/"), target))

    def _run(self, rest: str) -> None:
        line = shlex.split(rest)
        if line[:2] == ["pip", "install"]:
            own = (self.disk / line[-1].lstrip("/")).read_text().splitlines()[0]
            wheel, target = self.disk / own.partition("file:///")[2], self.disk / "site"
            options: list[Any] = ["--quiet", "--no-index", "--no-deps", "--target", target]
            subprocess.run([sys.executable, "-m", "pip", "install", *options, wheel], check=True, capture_output=True)

    def _env(self, rest: str) -> None:
        name, _, value = rest.partition("=")
        self.env[name] = json.loads(value)

    def _healthcheck(self, rest: str) -> None:
        self.health = json.loads(rest.partition("CMD ")[2])

    def _cmd(self, rest: str) -> None:
        self.command = json.loads(rest)

    def run(
        self, program: str, argument: Any, container: dict[str, Any], pod: dict[str, Any], objects: list[Any]
    ) -> Any:
        """Run a program of Python in a container of a pod, with a network of its own; gives what it printed, as JSON.

        Args:
            program: its text; its first argument is `argument`.
            container, pod: whose variables and volumes it has.
            objects: ConfigMaps and Secrets.
        """
        env = {**self.env, **self._variables(container, objects)}
        env["PYTHONPATH"] = ":".join([env.get("PYTHONPATH", ""), "/site", "/packages"])
        argv = [
            "bwrap", "--unshare-pid", "--unshare-net", "--die-with-parent", "--dev", "/dev", "--proc", "/proc", "--clearenv", *_namespace(),
            *(part for place in _SYSTEM if os.path.exists(place) for part in ("--ro-bind", place, place)),
            *_folders(sys.base_prefix, *(place for _, place in self.binds), *(each["mountPath"] for each in container["volumeMounts"])),
            "--ro-bind", sys.base_prefix, sys.base_prefix,
            "--ro-bind", sysconfig.get_path("purelib"), "/packages", "--ro-bind", str(self.disk / "site"), "/site",
            *(part for source, place in self.binds for part in ("--ro-bind", str(source), place)),
            *self._volumes(container, pod, objects), "--remount-ro", "/",
            *(part for name, value in env.items() for part in ("--setenv", name, value)),
            "--setenv", "PATH", "/usr/bin:/bin", "--chdir", "/app", *_as_user(),
            os.path.realpath(sys.executable), "-c", program, json.dumps(argument),
        ]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    def _variables(self, container: dict[str, Any], objects: list[Any]) -> dict[str, str]:
        found = {}
        for each in container["env"]:
            source = each.get("valueFrom", {}).get("secretKeyRef")
            found[each["name"]] = (
                each["value"]
                if source is None
                else _object(objects, "Secret", source["name"])["stringData"][source["key"]]
            )
        return found

    def _volumes(self, container: dict[str, Any], pod: dict[str, Any], objects: list[Any]) -> list[str]:
        """What bubblewrap is told of a pod's volumes, with the owners and modes that Kubernetes gives them."""
        found: list[str] = []
        volumes = {each["name"]: each for each in pod["volumes"]}
        for number, mount in enumerate(container["volumeMounts"]):
            volume, folder = volumes[mount["name"]], self.disk / "volumes" / f"{number}-{mount['name']}"
            folder.mkdir(parents=True)
            if "configMap" in volume:
                text = _object(objects, "ConfigMap", volume["configMap"]["name"])["data"][mount["subPath"]]
                _file(folder / "file", text.encode(), 0o644)
                found += ["--ro-bind", str(folder / "file"), mount["mountPath"]]
            elif "secret" in volume:
                data = _object(objects, "Secret", volume["secret"]["secretName"])["data"]
                for name, content in data.items():
                    _file(folder / name, base64.b64decode(content), volume["secret"]["defaultMode"])
                found += ["--ro-bind", str(folder), mount["mountPath"]]
            else:
                assert "emptyDir" in volume
                folder.chmod(0o2777)
                _give(folder)
                found += ["--bind", str(folder), mount["mountPath"]]
        return found


def _folders(*places: str) -> list[str]:
    """The folders above these, which all may enter, as in images."""
    found = sorted({str(parent) for place in places for parent in Path(place).parents if str(parent) != "/"})
    return [part for place in found for part in ("--perms", "0755", "--dir", place)]


def _file(path: Path, content: bytes, mode: int) -> None:
    path.write_bytes(content)
    path.chmod(mode)
    _give(path)


def _give(path: Path) -> None:
    """To root and the group of the pod (fsGroup)."""
    if os.geteuid() == 0:
        mode = path.stat().st_mode & 0o7777
        os.chown(path, 0, USER)
        path.chmod(mode)


def _object(objects: list[Any], kind: str, name: str) -> Any:
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def _namespace() -> list[str]:
    """The number of the user where nobody here may take it."""
    return [] if os.geteuid() == 0 else ["--unshare-user", "--uid", str(USER), "--gid", str(USER)]


def _as_user() -> list[str]:
    if os.geteuid() == 0:
        return ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--no-new-privs", "--"]
    return []


def read(folder: Path) -> list[Any]:
    """The objects of all manifests."""
    paths = [path for path in sorted(folder.rglob("*.yaml")) if "image" not in path.relative_to(folder).parts]
    return [each for path in paths for each in yaml.safe_load_all(path.read_text()) if each is not None]
