"""What an image and its pods hold: nothing secret in the image, everything written in a volume; and it runs as its user."""

import base64
import csv
import datetime
import errno
import io
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from packaging.requirements import Requirement

from helpers import onnxes
from helpers.container import usable
from helpers.image import Image, read
from helpers.kubernetes import objects, of_kind, validate_all
from motet.cli import cli
from motet.export.kubernetes import server
from motet.export.kubernetes.export import export_kubernetes
from motet.export.kubernetes.settings import ExportSettings
from motet.graph.fields import read_type
from motet.models import registry
from motet.store.store import Store
from motet.types import Signature

ROOT = Path(__file__).parents[2]

SERVED = """\
motet: 1
name: kept
inputs: {x: "float32[2]"}
nodes: {y: {map: functions.double, inputs: [x], outputs: "float32[2]"}}
outputs: {y: y}
serve:
  tls: {certificate: tls/server.pem, key: tls/server.key}
  admin: key
  admission: {anonymous: false, keys: keys.jsonl, audit: {file: ../logs/audit.jsonl}}
  observability: {access_log: access.jsonl}
  sinks:
    - {to: "sqlite:///answers.db", batch_s: 0.01}
    - {to: records/answers.jsonl, batch_s: 0.01}
    - {to: env:ANSWERS_URL, name: env, batch_s: 0.01}
"""
PASSWORD = "hunter2"


@pytest.fixture
def project(tmp_path: Path) -> Any:
    """A graph whose server has keys, a certificate, logs and sinks; what it wrote here lies beside it."""
    folder = tmp_path / "project" / "graphs"
    (folder / "tls").mkdir(parents=True)
    (folder / "kept.yaml").write_text(SERVED)
    (folder / "functions.py").write_text("def double(x):\n    return x * 2\n")
    make_certificate(folder / "tls")
    for name in ("access.jsonl", "access.jsonl.1", "answers.db", "answers.db-wal", ".env", "spool"):
        (folder / name).write_text("of this machine")
    for path in (folder / "functions.py", folder / "kept.yaml", folder / "tls" / "server.key"):
        path.chmod(0o600)
    return folder


def make_certificate(folder: Any) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kept")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "server.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    (folder / "server.key").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))


def add_key(folder: Any) -> Any:
    made = CliRunner().invoke(cli, ["keys", "add", "ann", "--class", "known", "--keys", str(folder / "keys.jsonl")])
    assert made.exit_code == 0, made.output
    return next(word for word in made.output.split() if word.startswith("mk_") or len(word) > 30)


def exported(folder: Any, out: Any, *options: Any) -> Any:
    done = CliRunner().invoke(cli, ["export", "kubernetes", str(folder / "kept.yaml"), "-o", str(out), *options])
    assert done.exit_code == 0, done.output
    return done


def refused(folder: Any, out: Any, text: Any) -> Any:
    (folder / "kept.yaml").write_text(text)
    done = CliRunner().invoke(cli, ["export", "kubernetes", str(folder / "kept.yaml"), "-o", str(out)])
    assert done.exit_code == 2
    assert not out.exists()
    return done.output


def test_nothing_secret_is_in_the_image_or_a_config_map(project: Any, tmp_path: Path) -> None:
    add_key(project)
    out = project / "k8s"  # inside what is copied
    for _ in range(2):
        exported(project, out)
    names = sorted(str(path.relative_to(out / "image" / "app")) for path in (out / "image" / "app").rglob("*"))
    assert names == ["functions.py", "kept.yaml", "tls"]
    secrets = [(project / name).read_text().split("\n")[1] for name in ("tls/server.key", "tls/server.pem")]
    secrets += (project / "keys.jsonl").read_text().strip().split("\n")
    for path in out.rglob("*"):
        if path.is_file() and path.name not in ("secrets.yaml",) and path.suffix != ".whl":
            text = path.read_text()
            assert not [each for each in secrets if each in text], path
    assert (out / "secrets.yaml").stat().st_mode & 0o777 == 0o600
    assert (out / ".gitignore").read_text() == "secrets.yaml\n"
    found = {each["metadata"]["name"]: each for each in objects(out / "secrets.yaml")}
    decoded = {
        name: {key: base64.b64decode(text) for key, text in each["data"].items()} for name, each in found.items()
    }
    assert decoded == {
        "kept-tls": {
            "tls.crt": (project / "tls" / "server.pem").read_bytes(),
            "tls.key": (project / "tls" / "server.key").read_bytes(),
        },
        "kept-secrets": {"keys.jsonl": (project / "keys.jsonl").read_bytes()},
    }
    assert found["kept-tls"]["type"] == "kubernetes.io/tls"


def test_private_keys_that_no_configuration_names_are_not_in_the_image_either(project: Any, tmp_path: Path) -> None:
    key, pem = ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.PEM
    forms = (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL)
    none, locked = serialization.NoEncryption(), serialization.BestAvailableEncryption(b"word")
    texts = [key.private_bytes(pem, form, none) for form in (*forms, serialization.PrivateFormat.OpenSSH)]
    texts += [key.private_bytes(pem, forms[0], locked), b"# a certificate, and behind it\n" + texts[0]]
    for place, text in enumerate(texts):
        (project / f"old{place}.txt").write_bytes(text)
    (project / "public.txt").write_bytes(
        key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    (project / "notes.txt").write_text("keys begin with -----BEGIN PRIVATE KEY----- in their first line\n")
    exported(project, tmp_path / "out")
    app = tmp_path / "out" / "image" / "app"
    assert sorted(path.name for path in app.glob("*.txt")) == ["notes.txt", "public.txt"]


@pytest.mark.parametrize("options", [(), ("--replicas", "0:2")])
def test_the_user_may_read_secrets_and_write_what_is_written(project: Any, tmp_path: Path, options: Any) -> None:
    add_key(project)
    exported(project, tmp_path / "out", *options)
    validate_all(read(tmp_path / "out"))
    kserve = of_kind(tmp_path / "out" / "kserve" / "kept.yaml", "InferenceService")["spec"]["predictor"]
    pods = [(kserve, 0o444 if options else 0o440)]
    if not options:
        pods.append(
            (of_kind(tmp_path / "out" / "deployment" / "kept.yaml", "Deployment")["spec"]["template"]["spec"], 0o440)
        )
    for pod, mode in pods:
        volumes = {each["name"]: each for each in pod["volumes"]}
        assert {
            each["secret"]["secretName"]: each["secret"]["defaultMode"] for each in volumes.values() if "secret" in each
        } == {
            "kept-tls": mode,
            "kept-secrets": mode,
        }
        assert volumes["state"]["emptyDir"] == {"sizeLimit": "10Gi"}
        env = {each["name"]: each for each in pod["containers"][0]["env"]}
        assert env["ANSWERS_URL"]["valueFrom"] == {"secretKeyRef": {"name": "kept-env", "key": "ANSWERS_URL"}}


def test_a_server_is_told_where_a_container_has_its_files(project: Any, tmp_path: Path) -> None:
    exported(project, tmp_path / "out")
    data = of_kind(tmp_path / "out" / "deployment" / "kept.yaml", "ConfigMap")["data"]
    config = yaml.safe_load(data["var_lib_motet_state_kept.yaml"])
    state = "/var/lib/motet/state"
    assert config == {
        "tls": {"certificate": "/etc/motet/tls/tls.crt", "key": "/etc/motet/tls/tls.key"},
        "admin": "key",
        "admission": {
            "anonymous": False,
            "keys": "/etc/motet/secrets/keys.jsonl",
            "audit": {"file": f"{state}/logs/audit.jsonl"},
        },
        "observability": {"access_log": f"{state}/access.jsonl"},
        "sinks": [
            {"to": f"sqlite:///{state}/answers.db", "batch_s": 0.01},
            {"to": f"{state}/records/answers.jsonl", "batch_s": 0.01},
            {"to": "env:ANSWERS_URL", "name": "env", "batch_s": 0.01},
        ],
    }


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("observability: {access_log: stderr}", {"observability": {"access_log": "stderr"}}),
        (
            "observability: {access_log: {file: /var/log/a.jsonl}}",
            {"observability": {"access_log": {"file": "/var/lib/motet/state/var/log/a.jsonl"}}},
        ),
        ("sinks: /tmp/a.jsonl", {"sinks": ["/tmp/a.jsonl"]}),
        ("sinks: 'sqlite:////data/a.db'", {"sinks": ["sqlite:////var/lib/motet/state/data/a.db"]}),
        ("sinks: {to: 'postgresql://ann@db/answers'}", {"sinks": [{"to": "postgresql://ann@db/answers"}]}),
        ("experiments: 'sqlite:///a.db'", {"experiments": "sqlite:////var/lib/motet/state/a.db"}),
        ("experiments: {to: 'sqlite:///a.db'}", {"experiments": {"to": "sqlite:////var/lib/motet/state/a.db"}}),
        ("admission: {folder: state}", {"admission": {"folder": "/var/lib/motet/state/state"}}),
        ("samples: pictures", {"samples": "/app/pictures"}),
    ],
)
def test_other_ways_to_say_where(project: Any, tmp_path: Path, written: str, kept: Any) -> None:
    (project / "kept.yaml").write_text(SERVED.partition("serve:")[0] + f"serve:\n  {written}\n")
    exported(project, tmp_path / "out")
    data = of_kind(tmp_path / "out" / "deployment" / "kept.yaml", "ConfigMap")["data"]
    assert yaml.safe_load(data["var_lib_motet_state_kept.yaml"]) == kept


@pytest.mark.parametrize(
    "line",
    [
        f"sinks: [{{to: 'postgresql://ann:{PASSWORD}@db/answers'}}]",
        f"sinks: 'postgresql://db/answers?user=ann&password={PASSWORD}'",
        f"admission: {{redis: 'redis://:{PASSWORD}@redis:6379/0'}}",
        f"observability: {{trace: {{endpoint: 'http://ann:{PASSWORD}@otel:4318/v1/traces'}}}}",
    ],
)
def test_a_password_in_the_file_is_refused(project: Any, tmp_path: Path, line: str) -> None:
    said = refused(project, tmp_path / "out", SERVED.partition("serve:")[0] + f"serve:\n  {line}\n")
    assert "holds a password, which would be in the image" in said
    assert "write env:NAME" in said
    assert PASSWORD not in said


def test_a_key_of_a_model_is_refused_or_a_variable(project: Any, tmp_path: Path) -> None:
    text = SERVED.partition("nodes:")[0] + (
        "models: {far: {uri: 'oip+http://far:8000/m', inputs: {x: 'float32[2]'}, outputs: {y: 'float32[2]'}, with: {api_key: KEY}}}\n"
        "nodes: {y: {model: far, inputs: [x]}}\noutputs: {y: y}\n"
    )
    assert "models.far.with.api_key: holds a password" in refused(
        project, tmp_path / "out", text.replace("KEY", PASSWORD)
    )
    (project / "kept.yaml").write_text(text.replace("KEY", "env:FAR_KEY"))
    exported(project, tmp_path / "out")
    env = of_kind(tmp_path / "out" / "deployment" / "kept.yaml", "Deployment")["spec"]["template"]["spec"][
        "containers"
    ][0]["env"]
    assert {"name": "FAR_KEY", "valueFrom": {"secretKeyRef": {"name": "kept-env", "key": "FAR_KEY"}}} in env
    assert (
        'create secret generic kept-env --from-literal=FAR_KEY="$FAR_KEY"'
        in (tmp_path / "out" / "README.md").read_text()
    )


def test_the_key_of_a_language_model_is_a_variable(project: Any, tmp_path: Path) -> None:
    text = SERVED.partition("inputs:")[0] + (
        "inputs: {text: string}\n"
        "models: {far: {uri: 'openai+https://far/v1#small', with: {key_env: FAR_KEY}}}\n"
        "nodes: {y: {model: far, inputs: [text]}}\noutputs: {y: y}\n"
    )
    (project / "kept.yaml").write_text(text)
    exported(project, tmp_path / "out")
    pod = of_kind(tmp_path / "out" / "deployment" / "kept.yaml", "Deployment")["spec"]["template"]["spec"]
    wanted = {"name": "FAR_KEY", "valueFrom": {"secretKeyRef": {"name": "kept-env", "key": "FAR_KEY"}}}
    assert wanted in pod["containers"][0]["env"]
    assert "openai" in (tmp_path / "out" / "image" / "install" / "requirements.txt").read_text()


def test_a_certificate_of_a_model_whose_key_gets_into_no_image_is_refused(project: Any, tmp_path: Path) -> None:
    text = SERVED.partition("nodes:")[0] + (
        "models: {far: {uri: 'oip+https://far:8000/m', inputs: {x: 'float32[2]'}, outputs: {y: 'float32[2]'}, with: WITH}}\n"
        "nodes: {y: {model: far, inputs: [x]}}\noutputs: {y: y}\n"
    )
    (project / "own.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    (project / "own.key").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n")
    said = refused(project, tmp_path / "out", text.replace("WITH", "{certificate: own.pem, certificate_key: own.key}"))
    assert "model 'far': with.certificate_key: own.key gets into no image: it has a private key" in said
    (project / "kept.yaml").write_text(
        text.replace("WITH", "{certificate: own.pem, certificate_key: /etc/own/tls.key}")
    )
    exported(project, tmp_path / "out")
    assert (tmp_path / "out" / "image" / "app" / "own.pem").is_file()


def test_other_graphs_of_one_server_are_refused(project: Any, tmp_path: Path) -> None:
    said = refused(project, tmp_path / "out", SERVED + "  graphs: [other.yaml]\n")
    assert "each exported graph has a server of its own" in said


def test_the_wheel_is_what_runs_here(project: Any, tmp_path: Path) -> None:
    exported(project, tmp_path / "out")
    (wheel,) = (tmp_path / "out" / "image" / "install").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        about = wheel.name.rpartition("-py3")[0] + ".dist-info"
        recorded = {row[0]: row[1:] for row in csv.reader(io.StringIO(archive.read(f"{about}/RECORD").decode()))}
        assert set(recorded) == set(archive.namelist())
        for name in archive.namelist():
            if name != f"{about}/RECORD":
                assert int(recorded[name][1]) == len(archive.read(name))
    target = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        "--no-deps",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = metadata.distributions(name="motet", path=[str(target)])
    assert found.requires == metadata.requires("motet")
    assert {each.name for each in found.entry_points} == {
        each.name for each in metadata.distribution("motet").entry_points
    }


def test_every_package_has_the_version_that_is_here(project: Any, tmp_path: Path) -> None:
    exported(project, tmp_path / "out", "--extra", "sklearn")
    own, *lines = (tmp_path / "out" / "image" / "install" / "requirements.txt").read_text().splitlines()
    assert Requirement(own).extras == {"auth", "grpc", "postgres", "sklearn"}
    listed = {Requirement(line).name: line for line in lines}
    assert all(line == f"{name}=={metadata.version(name).partition('+')[0]}" for name, line in listed.items())
    for name in listed:  # what they require is there too
        for each in map(Requirement, metadata.requires(name) or ()):
            if each.marker is None or each.marker.evaluate({"extra": ""}):
                assert each.name.lower().replace("_", "-").replace(".", "-") in listed, (name, each)
    assert {"scikit-learn", "threadpoolctl", "psycopg-binary"} <= set(listed)


def test_images_are_named_by_what_they_hold(project: Any, tmp_path: Path) -> None:
    def image(out: Any, *options: Any) -> Any:
        exported(project, out, *options)
        (container,) = of_kind(out / "deployment" / "kept.yaml", "Deployment")["spec"]["template"]["spec"]["containers"]
        return container["image"], container["imagePullPolicy"]

    first, again = image(tmp_path / "a"), image(tmp_path / "b")
    assert first == again
    assert first[1] == "IfNotPresent"
    (project / "functions.py").write_text("def double(x):\n    return x + x\n")
    assert image(tmp_path / "c")[0] != first[0]
    assert image(tmp_path / "d", "--image", "r.io/kept:latest") == ("r.io/kept:latest", "Always")
    assert image(tmp_path / "e", "--image", "r.io:5000/kept:1") == ("r.io:5000/kept:1", "IfNotPresent")


def test_the_base_may_be_one_by_digest(project: Any, tmp_path: Path) -> None:
    base = "python:3.13-slim@sha256:" + "0123456789abcdef" * 4
    assert "note: the image begins with" not in exported(project, tmp_path / "out", "--base", base).output
    assert f"\nFROM {base}\n" in (tmp_path / "out" / "image" / "Containerfile").read_text()
    assert "note: the image begins with python:3." in exported(project, tmp_path / "other").output


def test_what_lies_beside_a_graph_and_holds_secrets_is_left_out_and_told_of(project: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys.jsonl"
    made = CliRunner().invoke(cli, ["keys", "add", "bob", "--keys", str(keys)])
    assert made.exit_code == 0
    jwk, begin = {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}, "-----BEGIN PRIVATE KEY-----"
    secret = {
        "old-keys.jsonl": keys.read_text(),
        "store.p12": "0",
        "db.yaml": "database: {user: me, password: hunter2}\n",
        "url.yml": "- 1\n---\nto: postgres://me:hunter2@db/x\n",
        "url.json": json.dumps({"to": "postgres://me:hunter2@db/x"}),
        "own.jwks": json.dumps({"keys": [{**jwk, "d": "BBBB"}]}),
        "one.json": json.dumps({**jwk, "d": "BBBB"}),
        "one.jwk": json.dumps({**jwk, "d": "BBBB"}),
        "one.yaml": yaml.safe_dump({"keys": [{"kty": "oct", "k": "AAAA"}]}),
        "late.jwk": json.dumps({"key_ops": ["sign"] * (1 << 17), **jwk, "d": "BBBB"}),
        "OTHER.P12": "0",
        "list.yaml": "- postgres://me:hunter2@db/x\n",
        "number.yaml": "db_password: 123456\n",
        "around.yaml": "a: &a {b: *a, password: hunter2}\n",
        "many.yaml": "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" if n else "a0: &a0 [1]\n" for n in range(40))
        + "z: {password: hunter2}\n",
        "both.yaml": "motet: 1\ninputs: &a {password: hunter2}\nmodels: {m: {with: *a}}\n",
        "db.toml": '[database]\npassword = "hunter2"\n',
        "db.ini": "[database]\nDB_PASSWORD = hunter2\n",
        "prod.env": "export API_KEY=hunter2\n",
        "list.conf": "server {\n  listen 80;\n}\npassword = *hunter2\n",
        "template.yaml": "{{ if .on }}\npassword: hunter2\n{{ end }}\n",
        "template.json": '{"to": "postgres://me:hunter2@db/x", {{ rest }}}',
        "url.cfg": "url: postgres://me:hunter2@db/x\n",
        "key.py": f'KEY = """{begin}\nAAAA\n"""\n',
        "large.txt": f"{begin}\r\nAAAA\r\n" + "A" * (2 << 20),
        "late.txt": "A" * ((1 << 20) - 10) + f"\n{begin}\nAAAA\n",
        "late.jsonl": '{"row": 1}\n' * (3 << 16) + keys.read_text(),
        "late.jwks": json.dumps({"keys": [jwk] * (1 << 15) + [{**jwk, "d": "BBBB"}]}),
        "late.json": json.dumps({"rows": ["AAAA"] * (3 << 17), "to": "postgres://me:hunter2@db/x"}),
        "late.yaml": "- abc\n" * (3 << 16) + "- {user: me, db_password: 'hunter2'}\n",
        "late_other.yaml": "motet: 1\n#" + "-" * (1 << 20) + "\nserve: {tls: {certificate: late.crt, key: late.der}}\n",
        "late.crt": "c",
        "late.der": "d",
        "late_graph.yaml": "motet: 1\nname: late\n#" + "-" * (1 << 20) + "\nmodels: {m: {with: {password: hunter2}}}\n",
        "late.toml": "".join(f"key{n} = 1\n" for n in range(1 << 17)) + '[database]\npassword = "hunter2"\n',
        "late.env": "A=1\n" * (3 << 17) + "export API_KEY=hunter2\n",
        "large.jsonl": keys.read_text() * (1 + (1 << 20) // len(keys.read_text())),
        "account.json": json.dumps({"type": "service_account", "private_key": f"{begin}\nAAAA\n"}),
        "secret.yaml": f"stringData:\n  key: |\n    {begin}\n    AAAA\n",
        "others/serve.yaml": "admission: {keys: people, tokens: {jwks: ../theirs.json}}\n",
        "others/people": "",
        "theirs.json": json.dumps({"keys": [jwk]}),
        "other.yaml": "motet: 1\nserve: {tls: {certificate: server.crt, key: server.der}}\n",
        "served.json": json.dumps({"admission": {"keys": "of_json"}}),
        "of_json": "",
        "server.crt": "c",
        "server.der": "d",
    }
    plain = {
        "labels.json": json.dumps({"password": "Passwort"}),
        "text.yaml": "a: &x [1]\nb: *x\nkey: {password: env:DB}\n",
        "broken.yaml": "{",
        "twin.yaml": "motet: 1\nname: twin\ninputs: {password: string}\noutputs: {y: password}\n",
        "public.json": json.dumps({"keys": [jwk]}),
        "points.json": json.dumps({"d": 1, "k": 2}),
        "notes.md": f"A key begins with `{begin}`.\n",
        "of_keys.py": f'def is_key(text):\n    return text.startswith("{begin}\\n")\n',
        "plain.toml": 'name = "x"\n',
        "plain.ini": "password =\n[a]\nkey = 1\n",
        "broken.ini": "[a\n",
        "server.conf": "server {\n  listen 80;\n  proxy_pass http://me;\n}\n",
        "odd.yaml": "a: !!int\n",
        "when.yaml": "a: !!timestamp never\n",
        "broken.toml": "=",
        "round.yaml": "a: &a [*a]\n",
        "large.yaml": "a: [" + "1, " * (1 << 19) + "]\n",
        "rows.jsonl": '{"hash": 1}\n{"hash": 2}\n',
        "late_rows.json": json.dumps([{"at": "http://me", "by": "a:b@c", "password": "Passwort"}] * (3 << 14)),
        "late_twin.yaml": "motet: 1\nname: twin\n#"
        + "-" * (1 << 20)
        + "\ninputs: {password: string}\noutputs: {y: password}\n",
        "late_text.yaml": "- abc\n" * (3 << 16) + "- password: env:DB\n- password:\n",
    }
    (project / "others").mkdir()
    for name, text in {**secret, **plain}.items():
        (project / name).write_text(text)
    said = exported(project, tmp_path / "out").output
    app = tmp_path / "out" / "image" / "app"
    named = {"others/serve.yaml", "other.yaml", "served.json", "late_other.yaml"}  # which hold none themselves
    assert {str(each.relative_to(app)) for each in app.rglob("*") if each.is_file()} == {
        "kept.yaml", "functions.py", *plain, *named,
    }  # fmt: skip
    readme = (tmp_path / "out" / "README.md").read_text()
    for name in secret.keys() - named:
        assert f"{project / name} was left out of the image, since " in said
        assert f"{project / name} was left out of the image, since " in readme


def test_a_secret_that_is_not_here_is_told_of(project: Any, tmp_path: Path) -> None:
    said = exported(project, tmp_path / "out").output
    assert "keys.jsonl is not here: make the Secret that has /etc/motet/secrets/keys.jsonl yourself" in said
    assert [each["metadata"]["name"] for each in objects(tmp_path / "out" / "secrets.yaml")] == ["kept-tls"]


def test_a_cache_is_never_as_large_as_its_volume(project: Any, tmp_path: Path) -> None:
    exported(project, tmp_path / "out", "--cache-size", "5Gi")
    pod = of_kind(tmp_path / "out" / "deployment" / "kept.yaml", "Deployment")["spec"]["template"]["spec"]
    assert {"name": "MOTET_CACHE_BYTES", "value": str(4 << 30)} in pod["containers"][0]["env"]


def test_what_is_applied_together_is_there(project: Any, tmp_path: Path) -> None:
    exported(project, tmp_path / "out")
    (base,) = objects(tmp_path / "out" / "kustomization.yaml")
    assert base["resources"] == ["network.yaml", "deployment/kept.yaml"]
    policy = of_kind(tmp_path / "out" / "network.yaml", "NetworkPolicy")["spec"]
    assert [each["port"] for each in policy["ingress"][0]["ports"]] == [8000, 8001]
    (monitor,) = objects(tmp_path / "out" / "monitor.yaml")
    template = of_kind(tmp_path / "out" / "deployment" / "kept.yaml", "Deployment")["spec"]["template"]
    for wanted in (policy["podSelector"], monitor["spec"]["selector"]):
        assert wanted["matchLabels"].items() <= template["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["scheme"], endpoint["port"]) == ("https", template["spec"]["containers"][0]["ports"][0]["name"])


@pytest.mark.parametrize("mode", [0o600, 0o604, 0o640])
def test_the_user_may_read_what_is_copied_whatever_the_umask(project: Any, tmp_path: Path, mode: int) -> None:
    (project / "private").mkdir(mode=0o700)
    (project / "private" / "large.bin").write_bytes(bytes(17 << 20))
    (project / "private" / "large.bin").chmod(mode)
    before = os.umask(0o077)
    try:
        exported(project, tmp_path / "out")
    finally:
        os.umask(before)
    for path in (tmp_path / "out" / "image").rglob("*"):
        assert path.stat().st_mode & 0o005 >= (0o005 if path.is_dir() else 0o004) or path.name == "Containerfile", path
    assert (project / "private" / "large.bin").stat().st_mode & 0o777 == mode
    assert (tmp_path / "out" / "secrets.yaml").stat().st_mode & 0o777 == 0o600


def test_large_files_are_not_kept_twice(project: Any, tmp_path: Path) -> None:
    (project / "large.bin").write_bytes(bytes(17 << 20))
    (project / "large.bin").chmod(0o644)
    exported(project, tmp_path / "out")
    assert (tmp_path / "out" / "image" / "app" / "large.bin").samefile(project / "large.bin")


def test_a_link_in_a_circle_is_refused(project: Any, tmp_path: Path) -> None:
    (project / "again").symlink_to(project)
    done = CliRunner().invoke(cli, ["export", "kubernetes", str(project / "kept.yaml"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "leads round in a circle" in done.output


INSIDE = """\
import json, os, sqlite3, ssl, subprocess, sys, urllib.request

told = json.loads(sys.argv[1])
server = subprocess.Popen([sys.executable, "-m", "motet.cli", *told["command"][1:]], stderr=subprocess.PIPE)
while subprocess.run([sys.executable, *told["health"][1:]], stderr=subprocess.DEVNULL).returncode:
    if server.poll() is not None:
        sys.exit(server.stderr.read().decode())
unverified = ssl._create_unverified_context()


def ask(path, body=None, key=""):
    headers = {"Content-Type": "application/json", **({"X-API-Key": key} if key else {})}
    request = urllib.request.Request("https://127.0.0.1:8000" + path, body, headers)
    try:
        with urllib.request.urlopen(request, context=unverified, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, None


while ask("/v2/health/ready")[0] != 200:
    assert server.poll() is None
rows = json.dumps({"x": [1.5, -2.0]}).encode()
found = {"user": os.getuid(), "stranger": ask("/predict/kept", rows)[0], "answer": ask("/predict/kept", rows, told["key"])}
server.terminate()
found["code"] = server.wait(60)
found["said"] = server.stderr.read().decode()
found["kept"] = sorted(os.path.relpath(os.path.join(at, name), told["state"]) for at, _, names in os.walk(told["state"]) for name in names)
for place in ("/app/new", "/new", "/etc/motet/secrets/new"):
    try:
        open(place, "w")
    except OSError as error:
        found[place] = error.errno
import motet

found["motet"] = motet.__file__
print(json.dumps(found))
"""


def test_the_image_runs_as_its_user_with_a_root_that_cannot_be_written(project: Any, tmp_path: Path) -> None:
    usable()
    key = add_key(project)
    out = tmp_path / "out"
    exported(project, out)
    found = read(out)
    env = {
        "kind": "Secret",
        "metadata": {"name": "kept-env"},
        "stringData": {"ANSWERS_URL": "sqlite:////var/lib/motet/state/env.db"},
    }
    (deployment,) = [each for each in found if each["kind"] == "Deployment"]
    (mapped,) = [each for each in objects(out / "deployment" / "kept.yaml") if each["kind"] == "ConfigMap"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    image = Image(out / "image", tmp_path / "disk")
    assert image.command == container["command"]
    kept = [each for each in found if each["kind"] == "Secret"]
    told = {"command": container["command"], "health": image.health, "key": key, "state": "/var/lib/motet/state"}
    said = image.run(INSIDE, told, container, pod, [*kept, env, mapped])
    assert (said["user"], said["code"], said["stranger"]) == (10001, 0, 401), said
    assert said["answer"][1]["y"] == [3.0, -4.0], said
    assert said["motet"] == "/site/motet/__init__.py"
    assert {"access.jsonl", "answers.db", "env.db", "kept.yaml", "logs/audit.jsonl", "records/answers.jsonl"} <= set(
        said["kept"]
    )
    assert {said[place] for place in ("/app/new", "/new")} == {errno.EROFS}
    assert "Permission denied" not in said["said"]


def test_certificates_of_clients_which_no_probe_shows_are_refused(project: Any, tmp_path: Path) -> None:
    said = refused(
        project, tmp_path / "out", SERVED.replace("key: tls/server.key", "key: tls/server.key, client_ca: ca.crt")
    )
    assert "serve.tls.client_ca: the probes of a cluster, which ask whether a pod is ready, show no certificate" in said


def test_it_is_known_of_every_handler_what_it_needs() -> None:
    in_itself = {"onnx", "python", "mlflow", *(name for name in registry._CLASSES if re.match(r"(oip|tfs)\+", name))}
    said = {name: registry.handler_by_name(name).extra for name in registry._CLASSES}
    assert {name for name, extra in said.items() if not extra} == in_itself
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {*said.values()} - {""} <= {*extras}


GRAPH_OF_A_STORE = """
motet: 1
name: g
inputs: {x: "float32[4]"}
models: {m: {uri: "URI", inputs: {x: "float32[4]"}, outputs: {p: "float32"}}}
nodes: {scored: {model: m, inputs: [x]}}
outputs: {p: scored.p}
"""


def test_a_store_on_disk_says_what_its_models_need_and_of_others_the_page_tells(tmp_path: Path) -> None:
    (tmp_path / "m.cbm").write_bytes(b"of no use")
    signature = Signature(inputs={"x": read_type("float32[4]", "")}, outputs={"p": read_type("float32", "")})
    Store(str(tmp_path / "store")).publish("one", tmp_path / "m.cbm", signature=signature, handler="catboost")
    (tmp_path / "g.yaml").write_text(GRAPH_OF_A_STORE.replace("URI", "store:one"))
    assert "catboost" in server.read_server(tmp_path / "g.yaml").extras()
    (tmp_path / "g.yaml").write_text(GRAPH_OF_A_STORE.replace("URI", "store:two"))
    assert "catboost" not in server.read_server(tmp_path / "g.yaml").extras()
    found = export_kubernetes([str(tmp_path / "g.yaml")], tmp_path / "out", ExportSettings())
    said = "what store:two of g.yaml needs is known to its store alone: say --extra with the extra of its framework"
    assert said in found.notes
    assert said in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "needed"), [("{precision: bf16}", True), ("{backend: openvino}", True), ("{}", False)]
)
def test_models_that_openvino_plays_need_it(tmp_path: Path, options: str, needed: bool) -> None:
    onnxes.classifier(tmp_path / "m.onnx")
    (tmp_path / "g.yaml").write_text(f"""
motet: 1
name: g
inputs: {{x: "float32[4]"}}
models: {{m: {{uri: m.onnx, with: {options}}}}}
nodes: {{seen: {{model: m, inputs: [x]}}}}
outputs: {{p: seen.probabilities}}
""")
    assert ("precision" in server.read_server(tmp_path / "g.yaml").extras()) == needed
