"""Encrypted Parquet, as pyarrow writes it, is read with its keys, and refused without them."""

from __future__ import annotations

import base64
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import motet as mt
from motet.errors import InputError
from motet.io import open_source
from motet.io.stream import Stream

FOOTER, COLUMN = b"0123456789012345", b"1234567890123450"
MASTERS = {"footer_key": FOOTER, "col_key": COLUMN}
TABLE = pa.table({"x": pa.array(range(100), pa.int64()), "s": [f"text {row}" for row in range(100)]})
Wrap = Callable[[bytes, str], bytes]


def as_arrow_shows(key: bytes, name: str) -> bytes:
    """As the KMS of Arrow's documentation wraps a key."""
    return base64.b64encode(MASTERS[name] + key)


def as_parquet_mr(key: bytes, name: str) -> bytes:
    """As InMemoryKMS of parquet-mr wraps a key."""
    nonce = b"a nonce 1234"
    return base64.b64encode(nonce + AESGCM(MASTERS[name]).encrypt(nonce, key, name.encode()))


def write(path: Path, wrap: Wrap, *, outside: bool = False, **config: Any) -> None:
    class Kms(pe.KmsClient):
        def wrap_key(self, key: bytes, name: str) -> bytes:
            return wrap(key, name)

    factory = pe.CryptoFactory(lambda _: Kms())
    said = pe.EncryptionConfiguration(footer_key="footer_key", column_keys={"col_key": ["x"]}, **config)
    place = {"parquet_file_path": str(path), "filesystem": pyarrow.fs.LocalFileSystem()} if outside else {}
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), said, **place)
    pq.write_table(TABLE, path, encryption_properties=properties, row_group_size=30, write_page_checksum=True)


def write_uniform(path: Path, **said: Any) -> None:
    properties = pe.create_encryption_properties(FOOTER, **said)
    pq.write_table(TABLE, path, encryption_properties=properties, row_group_size=30)


def read(path: Path, decrypt: Any) -> pa.Table:
    return pa.Table.from_batches(open_source(path, decrypt=decrypt).batches(7))


@pytest.mark.parametrize("wrap", [as_arrow_shows, as_parquet_mr])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"plaintext_footer": True},
        {"double_wrapping": False},
        {"encryption_algorithm": "AES_GCM_CTR_V1"},
        {"internal_key_material": False, "outside": True},
    ],
    ids=str,
)
def test_files_of_a_kms(tmp_path: Path, wrap: Wrap, config: dict[str, Any]) -> None:
    write(tmp_path / "x.parquet", wrap, **config)
    keys = {name: base64.b64encode(key).decode() for name, key in MASTERS.items()}
    assert open_source(tmp_path / "x.parquet", decrypt=keys).num_rows == 100
    assert read(tmp_path / "x.parquet", keys).equals(TABLE)
    assert read(tmp_path / "x.parquet", MASTERS).equals(TABLE)


@pytest.mark.parametrize("plaintext_footer", [False, True])
def test_files_of_one_key(tmp_path: Path, plaintext_footer: bool) -> None:
    write_uniform(tmp_path / "x.parquet", plaintext_footer=plaintext_footer)
    assert read(tmp_path / "x.parquet", FOOTER).equals(TABLE)


def test_keys_of_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_uniform(tmp_path / "x.parquet")
    for text in (FOOTER.decode(), base64.b64encode(FOOTER).decode() + "\n", json.dumps(FOOTER.decode())):
        monkeypatch.setenv("KEY", text)
        (tmp_path / "key.txt").write_text(text)
        assert read(tmp_path / "x.parquet", "env:KEY").equals(TABLE)
        assert read(tmp_path / "x.parquet", str(tmp_path / "key.txt")).equals(TABLE)


def test_a_function_unwraps_keys(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", lambda key, name: base64.b64encode(key[::-1]))
    assert read(tmp_path / "x.parquet", lambda wrapped, name: base64.b64decode(wrapped)[::-1]).equals(TABLE)
    with pytest.raises(InputError, match="master key 'footer_key': integer division"):
        read(tmp_path / "x.parquet", lambda wrapped, name: 1 // 0)


def test_files_that_are_not_encrypted_are_read_beside_others(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", as_arrow_shows)
    assert pa.Table.from_batches(open_source(tmp_path, decrypt=MASTERS).batches(30)).num_rows == 200


@pytest.mark.parametrize("plaintext_footer", [False, True])
@pytest.mark.parametrize("uniform", [False, True])
def test_without_keys_the_file_and_the_option_are_named(tmp_path: Path, uniform: bool, plaintext_footer: bool) -> None:
    """In a process of its own: Arrow ends it where it is asked for metadata of an encrypted column."""
    path = tmp_path / "x.parquet"
    if uniform:
        write_uniform(path, plaintext_footer=plaintext_footer)
    else:
        write(path, as_arrow_shows, plaintext_footer=plaintext_footer)
    code = "import sys, motet.io; list(motet.io.open_source(sys.argv[1]).batches(10))"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "x.parquet: is encrypted, and no keys were given" in done.stderr
    assert "--decrypt" in done.stderr
    for wrong in (b"x" * 16, {"footer_key": b"x" * 16, "col_key": b"y" * 16}):
        with pytest.raises(InputError, match=r"is encrypted, and not with|does not unwrap") as caught:
            read(path, wrong)
        assert "xxxx" not in str(caught.value)


def test_a_column_without_its_key_can_be_left_out(tmp_path: Path) -> None:
    for footer in (False, True):
        write(tmp_path / "x.parquet", as_arrow_shows, plaintext_footer=footer)
        source = open_source(tmp_path / "x.parquet", decrypt={"footer_key": FOOTER})
        assert pa.Table.from_batches(source.batches(30, ["s"])).equals(TABLE.select(["s"]))
        assert source.row_bytes(["s"]) > 0  # type: ignore[attr-defined]
        with pytest.raises(InputError, match="master key 'col_key' is needed, which was not given; given: footer_key"):
            list(source.batches(30))


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    write_uniform(tmp_path / "x.parquet")
    for wrong in (b"short", {"a": "short"}, {"a": 5}):
        with pytest.raises(InputError, match="is no key of 16, 24 or 32 bytes"):
            read(tmp_path / "x.parquet", wrong)
    with pytest.raises(InputError, match="there is no environment variable 'NOT_THERE'"):
        read(tmp_path / "x.parquet", "env:NOT_THERE")
    (tmp_path / "x.csv").write_text("x\n1\n")
    with pytest.raises(InputError, match="decrypt is an option of parquet; this is csv"):
        open_source(tmp_path / "x.csv", decrypt=FOOTER)


def test_damage_is_found(tmp_path: Path) -> None:
    write_uniform(tmp_path / "x.parquet")
    raw = bytearray((tmp_path / "x.parquet").read_bytes())
    raw[60] ^= 1
    (tmp_path / "x.parquet").write_bytes(raw)
    with pytest.raises(mt.errors.DataError, match="x.parquet: cannot be read any further"):
        read(tmp_path / "x.parquet", FOOTER)


def test_keys_are_written_nowhere(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", as_arrow_shows)
    doubled = mt.map(lambda x: 2 * x, mt.input("x", "int64"), outputs="int64")
    graph = mt.Graph("g", {"y": doubled})
    report = graph.run(tmp_path / "x.parquet", f"{tmp_path}/o/", decrypt=MASTERS)
    assert pq.read_table(tmp_path / "o")["y"].to_pylist() == list(range(0, 200, 2))
    from motet.engines.local.options import BulkOptions

    said = [report.to_json(), repr(BulkOptions(decrypt=MASTERS)), repr(graph)]
    said += [path.read_bytes().decode("latin-1") for path in (tmp_path / "o").rglob("*") if path.is_file()]
    for each in (FOOTER.decode(), COLUMN.decode(), base64.b64encode(FOOTER).decode()):
        assert not [text for text in said if each in text]
    assert FOOTER not in pickle.dumps(report)


def test_keys_go_with_splits_to_workers_and_into_no_text(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", as_arrow_shows)
    source = open_source(tmp_path / "x.parquet", decrypt=MASTERS)
    assert isinstance(source, Stream)
    splits = source.splits(1)
    there = pickle.loads(pickle.dumps(splits))
    batches = [read for split in there for _, read in split.batches(7)]
    assert pa.Table.from_batches(batches).equals(TABLE)
    assert not [key for key in MASTERS.values() if key.decode() in repr((splits, vars(splits[0].source)))]


def test_the_command_takes_keys(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", as_arrow_shows)
    (tmp_path / "keys.json").write_text(json.dumps({name: key.decode() for name, key in MASTERS.items()}))
    (tmp_path / "g.yaml").write_text(
        "motet: 1\nname: g\ninputs: {x: int64}\nnodes:\n  a: {map: motet.ops.columns.cast, inputs: [x], with: {dtype: float64}}\n"
        "outputs: {y: a}\n"
    )
    command = [sys.executable, "-m", "motet.cli", "run", "g.yaml", "--input", "x.parquet", "--output", "o.parquet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--decrypt" in done.stderr
    done = subprocess.run([*command, "--decrypt", "keys.json"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "o.parquet")["y"].to_pylist() == list(range(100))
