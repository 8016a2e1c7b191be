import os
import threading

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from motet.cli import cli
from motet.errors import GraphError, InputError, NotReadyError, UnauthorizedError
from motet.serving.admission.keys import KeyRing, KeyStore


class Ticks:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def store(tmp_path, clock):
    return KeyStore(tmp_path / "keys.jsonl", clock=clock)


@pytest.fixture
def ticks():
    return Ticks()


@pytest.fixture
def ring(store, clock, ticks):
    return KeyRing(str(store.path), clock=clock, ticks=ticks)


def later(ticks):
    ticks.now += 0.6


def test_a_key_that_was_made_is_let_in_by_a_server_that_runs_already(store, ring, ticks):
    key, record = store.add("alice")
    later(ticks)
    assert ring.verify(key) == record


def test_a_key_that_is_revoked_is_refused_within_a_second(store, ring, ticks):
    key, record = store.add("alice")
    later(ticks)
    assert ring.verify(key)
    store.revoke("alice")
    later(ticks)
    with pytest.raises(UnauthorizedError, match=f"the API key {record.id} is revoked"):
        ring.verify(key)


def test_a_key_is_refused_from_the_second_on_that_it_expires_in(store, ring, ticks, clock):
    key, _ = store.add("alice", expires_s=60)
    later(ticks)
    clock.now += 59.9
    assert ring.verify(key)
    clock.now += 0.1
    with pytest.raises(UnauthorizedError, match="is expired"):
        ring.verify(key)


def test_a_wrong_secret_and_an_unknown_id_are_told_in_the_same_words(store, ring, ticks):
    key, record = store.add("alice")
    later(ticks)
    secret = key.rpartition(record.id)[2]
    said = set()
    for wrong in (f"mk_{record.id}_{'A' * 43}", f"mk_{'0' * 12}{secret}"):
        with pytest.raises(UnauthorizedError) as error:
            ring.verify(wrong)
        said.add(str(error.value))
    assert said == {"the API key does not hold"}


def test_known_and_unknown_ids_are_compared_the_same_number_of_times_over_the_same_lengths(store, ticks):
    key, record = store.add("alice")
    compared = []

    def same(got, wanted):
        compared.append((len(got), len(wanted)))
        return got == wanted

    ring = KeyRing(str(store.path), ticks=ticks, same=same)
    ring.verify(key)
    for wrong in (f"mk_{record.id}_{'A' * 43}", f"mk_{'0' * 12}_{'A' * 43}"):
        with pytest.raises(UnauthorizedError):
            ring.verify(wrong)
    assert compared == [(64, 64)] * 3


def test_even_a_comparison_that_says_yes_lets_no_unknown_id_in(store, ticks):
    ring = KeyRing(str(store.path), ticks=ticks, same=lambda got, wanted: True)
    with pytest.raises(UnauthorizedError):
        ring.verify(f"mk_{'0' * 12}_{'A' * 43}")


@given(st.text() | st.from_regex(r"mk_[0-9a-f]{12}_[A-Za-z0-9_-]{40,46}", fullmatch=True))
def test_no_other_text_is_a_key(tmp_path_factory, text):
    store = KeyStore(tmp_path_factory.getbasetemp() / "some-keys.jsonl")
    if not store.records():
        store.add("alice")
    with pytest.raises(UnauthorizedError):
        KeyRing(str(store.path)).verify(text)


def test_a_single_character_that_differs_makes_a_key_wrong(store, ring, ticks):
    key, _ = store.add("alice")
    later(ticks)
    for place in range(len(key)):
        other = "b" if key[place] != "b" else "c"
        with pytest.raises(UnauthorizedError):
            ring.verify(key[:place] + other + key[place + 1 :])


def test_secrets_are_not_in_the_file_which_others_cannot_read(store):
    key, _ = store.add("alice")
    assert key.split("_", 2)[2] not in store.path.read_text()
    assert os.stat(store.path).st_mode & 0o777 == 0o600


def test_a_file_that_is_deleted_revokes_every_key(store, ring, ticks):
    key, _ = store.add("alice")
    later(ticks)
    store.path.unlink()
    later(ticks)
    with pytest.raises(UnauthorizedError):
        ring.verify(key)


def test_a_file_that_breaks_lets_nobody_in_until_it_is_whole_again(store, ring, ticks):
    key, _ = store.add("alice")
    whole = store.path.read_bytes()
    store.path.write_bytes(whole + b"{")
    later(ticks)
    with pytest.raises(NotReadyError, match="credentials cannot be checked now"):
        ring.verify(key)
    store.path.write_bytes(whole)
    later(ticks)
    assert ring.verify(key)


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"id": "x"}', b"\xff"])
def test_a_wrong_file_is_named_with_its_line_when_a_server_starts(store, line):
    store.add("alice")
    store.path.write_bytes(store.path.read_bytes() + line + b"\n")
    with pytest.raises(GraphError, match=r"keys.jsonl, line 2: is no key"):
        KeyRing(str(store.path))


def test_two_keys_with_one_id_and_hashes_that_are_none_are_told(store):
    store.add("alice")
    line = store.path.read_bytes()
    store.path.write_bytes(line + b"\n" + line)
    with pytest.raises(GraphError, match="two keys have the id"):
        store.records()
    store.path.write_bytes(line.replace(b'"hash":"', b'"hash":"x'))
    with pytest.raises(GraphError, match="is no SHA-256"):
        store.records()


def test_keys_that_are_added_at_the_same_time_are_all_kept(store):
    adding = [threading.Thread(target=KeyStore(store.path).add, args=(f"user{number}",)) for number in range(16)]
    for each in adding:
        each.start()
    for each in adding:
        each.join()
    assert {record.name for record in store.records()} == {f"user{number}" for number in range(16)}


def test_an_id_revokes_one_key_and_a_name_all_of_its_own(store):
    (_, first), (_, second), (_, other) = store.add("alice"), store.add("alice"), store.add("bob")
    assert [record.id for record in store.revoke(first.id)] == [first.id]
    assert [record.id for record in store.revoke("alice")] == [second.id]
    assert [record.state(store._clock()) for record in store.records()] == ["revoked", "revoked", "active"]
    with pytest.raises(InputError, match="'alice' is revoked already"):
        store.revoke("alice")
    with pytest.raises(InputError, match="'carol' is neither the id nor the name of a key"):
        store.revoke("carol")
    assert store.records()[2] == other


def command(*arguments):
    return CliRunner().invoke(cli, ["keys", *arguments])


def test_the_commands_make_list_and_revoke_keys(tmp_path):
    file = str(tmp_path / "keys.jsonl")
    made = command("add", "alice", "--class", "gold", "--expires", "90d", "--keys", file)
    key = made.stdout.strip()
    assert made.exit_code == 0
    assert KeyRing(file).verify(key).klass == "gold"
    listed = command("list", "--keys", file).stdout
    assert "alice" in listed
    assert "active" in listed
    assert key.split("_", 2)[2] not in listed
    assert command("revoke", "alice", "--keys", file).stdout.startswith("revoked ")
    assert "revoked" in command("list", "--keys", file).stdout
    with pytest.raises(UnauthorizedError):
        KeyRing(file).verify(key)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "alice", "--expires", "soon"), "'soon' is no duration"),
        (("add", "a b"), "'a b' is no name"),
        (("revoke", "nobody"), "'nobody' is neither the id nor the name of a key"),
    ],
)
def test_wrong_arguments_of_the_commands_end_them_with_2(tmp_path, arguments, said):
    ended = command(*arguments, "--keys", str(tmp_path / "keys.jsonl"))
    assert ended.exit_code == 2
    assert said in ended.stderr
