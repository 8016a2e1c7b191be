"""Code that a program does not name where it uses it: lazy packages, plug-ins, scripts; and code in unusual places."""

from __future__ import annotations

import sys
import zipfile

import pytest

from motet.workflow.code.follow import follow

INNER = "def f(x):\n    return x + {value}\n"
LAZY = "def __getattr__(name):\n    import importlib\n    return getattr(importlib.import_module('pkg.m'), name)\n"
CASES = {
    "a lazy attribute": ("pkg/m.py", {"pkg/__init__.py": LAZY}, "import pkg\ndef s(x):\n    return pkg.f(x)\n"),
    "a lazy attribute, imported inside": (
        "pkg/m.py",
        {"pkg/__init__.py": LAZY},
        "def s(x):\n    import pkg\n    return pkg.f(x)\n",
    ),
    "a lazy name, imported inside": (
        "pkg/m.py",
        {"pkg/__init__.py": LAZY},
        "def s(x):\n    from pkg import f\n    return f(x)\n",
    ),
    "a lazy submodule": (
        "pkg/m.py",
        {
            "pkg/__init__.py": LAZY.replace(
                "getattr(importlib.import_module('pkg.m'), name)", "importlib.import_module('pkg.' + name)"
            )
        },
        "import pkg\ndef s(x):\n    return pkg.m.f(x)\n",
    ),
    "subclasses": (
        "plug.py",
        {"base.py": "class Base: pass\n"},
        "import base, plug\ndef s(x):\n    return base.Base.__subclasses__()\n",
    ),
    "a script": (
        "script.py",
        {},
        "import subprocess, sys\ndef s(x):\n    return subprocess.run([sys.executable, 'script.py'])\n",
    ),
    "a script, by a name of its own": (
        "script.py",
        {},
        "from subprocess import run\ndef s(x):\n    return run(['script.py'])\n",
    ),
    "a script of the shell": ("script.sh", {}, "import os\ndef s(x):\n    return os.system('sh script.sh')\n"),
    "a module that is run": ("script.py", {}, "import runpy\ndef s(x):\n    return runpy.run_path('script.py')\n"),
    "a module that is run, imported inside": (
        "script.py",
        {},
        "def s(x):\n    from runpy import run_module\n    return run_module('script')\n",
    ),
    "a library of C": ("lib.so", {}, "import ctypes\ndef s(x):\n    return ctypes.CDLL('./lib.so').f(x)\n"),
    "code of a package's data": (
        "pkg/m.sql",
        {"pkg/__init__.py": ""},
        "import importlib.resources\nimport pkg\ndef s(x):\n    return importlib.resources.read_text('pkg', 'm.sql')\n",
    ),
    "code of a package's data, by a name of its own": (
        "pkg/m.sql",
        {"pkg/__init__.py": ""},
        "from importlib.resources import read_text\nimport pkg\ndef s(x):\n    return read_text('pkg', 'm.sql')\n",
    ),
    "a script, of a module by a name of its own": (
        "script.py",
        {},
        "import subprocess as sp\ndef s(x):\n    return sp.run(['script.py'])\n",
    ),
    "a script of the shell, by a name of its own": (
        "script.sh",
        {},
        "from os import system\ndef s(x):\n    return system('sh script.sh')\n",
    ),
    "a script of the shell, imported inside": (
        "script.sh",
        {},
        "def s(x):\n    from os import system\n    return system('sh script.sh')\n",
    ),
    "a script in a process of its own": (
        "script.sh",
        {},
        "import os\ndef s(x):\n    return os.spawnlp(os.P_WAIT, 'sh', 'sh', 'script.sh')\n",
    ),
    "a module that runs, as a value": (
        "script.py",
        {},
        "import subprocess\ndef s(x):\n    return getattr(subprocess, x)(['script.py'])\n",
    ),
    "a package without a file, imported inside": (
        "ns/sub/mod.py",
        {},
        "def s(x):\n    from ns.sub import mod\n    return mod.f(x)\n",
    ),
    "a part of one": ("ns/sub/mod.py", {}, "def s(x):\n    from ns.sub.mod import f\n    return f(x)\n"),
    "one that may be missing": (
        "ns/sub/mod.py",
        {},
        "def s(x):\n    try:\n        import ns.sub.mod as m\n    except ImportError:\n        m = None\n    return m.f(x)\n",
    ),
    "one with packages in it": (
        "ns/p/mod.py",
        {"ns/p/__init__.py": ""},
        "def s(x):\n    import ns.p.mod\n    return ns.p.mod.f(x)\n",
    ),
    "one at the top": ("ns/sub/mod.py", {}, "import ns.sub.mod\ndef s(x):\n    return ns.sub.mod.f(x)\n"),
}


def digest_of(project, files):
    for name, text in files.items():
        path = project.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    project.forget()
    for name in [each for each in sys.modules if each.partition(".")[0] == "ns"]:
        del sys.modules[name]
    return follow(project.load("flow").s).digest


@pytest.mark.parametrize("name", CASES)
def test_a_change_of_it_is_seen(project, name):
    changing, files, flow = CASES[name]
    files = {**files, "flow.py": flow}
    first = digest_of(project, {**files, changing: INNER.format(value=1)})
    assert digest_of(project, {**files, changing: INNER.format(value=2)}) != first
    assert digest_of(project, {**files, changing: INNER.format(value=1)}) == first


@pytest.mark.parametrize("inside", [False, True])
def test_code_in_an_archive_counts_with_the_archive(project, tmp_path, monkeypatch, inside):
    monkeypatch.syspath_prepend(str(tmp_path / "code.zip"))
    flow = (
        "def s(x):\n    import zipped.m\n    return zipped.m.f(x)\n"
        if inside
        else "import zipped.m as m\ndef s(x):\n    return m\n"
    )

    def digest(value):
        with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
            archive.writestr("zipped/__init__.py", "")
            archive.writestr("zipped/m.py", INNER.format(value=value))
        for name in [each for each in sys.modules if each.startswith("zipped")]:
            del sys.modules[name]
        sys.path_importer_cache.clear()
        return digest_of(project, {"flow.py": flow})

    first = digest(1)
    assert digest(2) != first
    assert digest(1) == first


def test_what_an_installer_has_put_into_a_folder_counts_by_its_version(project, tmp_path, monkeypatch):
    extra = tmp_path / "extra"
    (extra / "big").mkdir(parents=True)
    (extra / "big" / "__init__.py").write_text("__version__ = '1.0'\ndef f(x):\n    return x\n")
    about = extra / "big-1.0.dist-info"
    about.mkdir()
    (about / "RECORD").write_text("big/__init__.py,,\nbig-1.0.dist-info/RECORD,,\n")
    (extra / "own.py").write_text("def g(x):\n    return x\n")
    monkeypatch.syspath_prepend(str(extra))
    project.write(flow="import big, own\ndef s(x):\n    return big.f(own.g(x))\n")
    code = follow(project.load("flow").s)
    assert code.pins["big"] == "1.0"
    assert set(code.parts) == {"flow.s", "own.g"}
    for name in ("big", "own"):
        sys.modules.pop(name)


SETTINGS = {
    "a seed of numpy": ("import numpy as np\nnp.random.seed({value})\n", 1, 2),
    "a seed by name": ("from random import seed\nseed({value})\n", 1, 2),
    "a seed that has a name": ("import random\nSEED = {value}\nrandom.seed(SEED)\n", 1, 2),
    "a helper that seeds": ("import random\ndef prepare(n):\n    random.seed(n)\nprepare({value})\n", 1, 2),
    "a seed in the helper": ("import random\ndef prepare():\n    random.seed({value})\nprepare()\n", 1, 2),
    "a seed under a condition": ("import random\nif True:\n    random.seed({value})\n", 1, 2),
    "an environment variable": ("import os\nos.environ['MOTET_TEST_X'] = {value!r}\n", "1", "2"),
    "an attribute of a library": ("import decimal\ndecimal.DefaultContext.prec = {value}\n", 28, 29),
    "an option of pandas": ("import pandas as pd\npd.set_option('display.width', {value})\n", 80, 81),
    "errors of numpy": ("import numpy as np\nnp.seterr(over={value!r})\n", "warn", "ignore"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_at_the_top_of_a_module_are_seen(project, monkeypatch, name):
    import decimal
    import random

    import numpy as np

    monkeypatch.setenv("MOTET_TEST_X", "0")
    text, one, other = SETTINGS[name]
    states, seen = (np.random.get_state(), random.getstate(), np.geterr(), decimal.DefaultContext.prec), []
    try:
        flows = [text.format(value=value) + "def s(x):\n    return x\n" for value in (one, other, one)]
        seen += [digest_of(project, {"flow.py": flow}) for flow in flows]
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])
        np.seterr(**states[2])
        decimal.DefaultContext.prec = states[3]
        if "pandas" in sys.modules:
            sys.modules["pandas"].reset_option("display.width")
    assert seen[0] == seen[2] != seen[1]


@pytest.mark.parametrize(
    "flow",
    ["def s(resources):\n    return resources.cpu\n", "RESOURCES = {}\ndef s(x):\n    return RESOURCES.keys()\n",
     "import os\ndef s(x):\n    return os.getcwd()\n", "from os import getcwd\ndef s(x):\n    return getcwd()\n"],
    ids=["a parameter", "a value", "a module that can also run", "a function of it"],
)  # fmt: skip
def test_a_change_of_what_is_not_used_is_not_seen(project, flow):
    digests = {digest_of(project, {"flow.py": flow, "other.py": INNER.format(value=value)}) for value in (1, 2)}
    assert len(digests) == 1


def test_what_a_module_prints_or_registers_does_not_count(project):
    text = (
        "import math\nprint({value})\nFOUND = []\nFOUND.append({value})\nmath.sqrt({value})\ndef s(x):\n    return x\n"
    )
    digests = {digest_of(project, {"flow.py": text.format(value=value)}) for value in (1, 2)}
    assert len(digests) == 1


def test_models_of_pydantic_have_one_digest_in_every_process(project):
    import os
    import subprocess

    pytest.importorskip("pydantic")
    text = (
        "import pydantic\nclass P(pydantic.BaseModel):\n    a: int = {value}\n    tags: set[str] = {{'x', 'y', 'z'}}\n"
        "@pydantic.dataclasses.dataclass\nclass D:\n    b: int = 1\ndef s(x):\n    return P(a=x).a + D(x).b\n"
    )
    program = "from motet.workflow.code.follow import follow; import flow; print(follow(flow.s).digest)"

    def digest(value, seed):
        project.write(flow=text.format(value=value))
        path = os.pathsep.join([str(project.folder), *sys.path])
        env = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
        ).stdout

    assert digest(1, "1") == digest(1, "2") != digest(22, "1")
