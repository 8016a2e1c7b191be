"""Artifacts: files named by the digest of their content, and values kept in them.

    ROOT/artifacts/ab/DIGEST      written beside and renamed; never changed; SHA-256, 64 hex digits

What is written twice is kept once. Nothing is synced to the disk: what a crash of the machine leaves damaged is found
out by its digest, and counts as not there.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motet.errors import WorkflowError
from motet.system.whole_files import beside, draft
from motet.workflow.memo.checkout import Checkout, FileState, digest_file, digest_folder, see
from motet.workflow.memo.codecs import BY_NAME
from motet.workflow.memo.content import HashingFile
from motet.workflow.memo.encode import Encoder, Leaf, decode, may_run, part_of
from motet.workflow.memo.trees import pack, unpack

__all__ = ["Artifacts", "KeptValue", "LeafRef", "digests_of"]

LONGEST_TREE = 64 << 10
"""Longer trees, in bytes, are artifacts themselves."""
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class LeafRef:
    """A leaf that is kept.

    Attributes:
        codec: its format.
        digest: of its file.
        size: of its file, in bytes.
        content: of what it holds, where values that hold the same can have files that differ.
    """

    codec: str
    digest: str
    size: int
    content: str = ""

    @property
    def counts(self) -> str:
        """What stands for it in keys."""
        return f"{self.codec} {self.content or self.digest}"


@dataclass(frozen=True, slots=True)
class KeptValue:
    """A value that is kept.

    Attributes:
        tree: its tree, as JSON; empty where that is its last leaf.
        leaves: its leaves.
        classes: classes of what is in it, as `module:name`.
        digest: of all of it.
    """

    tree: str
    leaves: tuple[LeafRef, ...]
    classes: tuple[str, ...]
    digest: str

    @property
    def size_bytes(self) -> int:
        """The size of all of it."""
        return len(self.tree) + sum(leaf.size for leaf in self.leaves)

    @property
    def has_files(self) -> bool:
        """Whether files or folders are in it."""
        return any(leaf.codec == "file" for leaf in self.leaves) or '"$folder"' in self.tree

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats of its leaves, each once."""
        return tuple(dict.fromkeys(leaf.codec for leaf in self.leaves))

    def to_json(self) -> dict[str, Any]:
        """As entries have it."""
        leaves = [[leaf.codec, leaf.digest, leaf.size, leaf.content] for leaf in self.leaves]
        return {"tree": self.tree, "leaves": leaves, "classes": list(self.classes), "digest": self.digest}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> KeptValue:
        """The inverse of `to_json`."""
        leaves = tuple(LeafRef(*each) for each in found["leaves"])
        return cls(found["tree"], leaves, tuple(found["classes"]), found["digest"])


class Artifacts:
    """The artifacts of a folder. Any number of threads, processes and machines may use it at the same time.

    Args:
        root: the folder of the cache.
        spare: a folder of this run alone, for what cannot be written there: it may be full, or not ours to write.

    Attributes:
        refused: why something went to the spare folder; empty where nothing did.
    """

    def __init__(self, root: Path, spare: Path | None = None) -> None:
        self.root, self.spare, self.refused = root / "artifacts", spare, ""
        self._made: set[Path] = set()

    def path(self, digest: str) -> Path:
        """Where an artifact is, or would be."""
        place = _place(self.root, digest)
        return _place(self.spare, digest) if self.refused and self.spare and not place.exists() else place

    def holds(self, kept: KeptValue) -> bool:
        """Whether nothing of a value that was just kept is in the spare folder."""
        return not self.refused or all(_place(self.root, leaf.digest).exists() for leaf in kept.leaves)

    def keep(self, value: Any, checkout: Checkout | None = None) -> tuple[KeptValue, dict[int, Any]]:
        """Keep a value. Returns what is kept, and values of its leaves, by number, for those who want it at once.

        Args:
            value: the value.
            checkout: where whoever made it found the files of other values.

        Raises whatever pickling raises, where the value has to be pickled: what cannot be read again is not kept.
        """
        encoder = Encoder(files=True, named=checkout.named if checkout is not None else str)
        packed = pack(encoder.tree(value))
        leaves = [self.put(leaf) for leaf in encoder.leaves]
        values: dict[int, Any] = {}
        for number, leaf in enumerate(encoder.leaves):
            if leaf.codec == "pickle":
                values[number] = pickle.loads(leaf.value.data)
            elif leaf.codec != "file" and BY_NAME[leaf.codec].shared:
                values[number] = leaf.value
                if leaf.codec == "npy":  # without motet.batch: only a step that uses numpy is to load it in its process
                    values[number] = leaf.value.view()
                    values[number].flags.writeable = False
        whole = hashlib.sha256(packed)
        for ref in leaves:
            whole.update(ref.counts.encode())
        if len(packed) > LONGEST_TREE:
            leaves.append(self.put(Leaf("json", packed)))
            packed = b""
        return KeptValue(packed.decode(), tuple(leaves), tuple(sorted(encoder.classes)), whole.hexdigest()), values

    def put(self, leaf: Leaf) -> LeafRef:
        """Write a leaf, unless it is there. Raises OSError where there is no room for it in the spare folder either."""
        try:
            return self._put(leaf, self.root)
        except OSError as error:
            if self.spare is None:
                raise
            found = self._put(leaf, self.spare)
            self.refused = self.refused or error.strerror or str(error)
            return found

    def _put(self, leaf: Leaf, root: Path) -> LeafRef:
        root.mkdir(parents=True, exist_ok=True)
        with draft(root) as part:
            if leaf.codec == "file":
                before = see(leaf.value)
                shutil.copyfile(leaf.value, part)
                digest, size = digest_file(Path(part)), os.path.getsize(part)
                if digest != before.digest or before.changed:
                    raise ValueError(f"{leaf.value} was changed while it was copied")
            else:
                with open(part, "wb") as file:
                    hashing = HashingFile(file)
                    BY_NAME[leaf.codec].write(leaf.value, hashing)  # type: ignore[arg-type]
                digest, size = hashing.hash.hexdigest(), hashing.size
            place = _place(root, digest)
            if place.parent not in self._made:
                place.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(place.parent)
            os.replace(part, place)
        return LeafRef(leaf.codec, digest, size, leaf.value.content if leaf.codec == "pickle" else "")

    def fault(self, kept: KeptValue) -> str:
        """What is wrong with a value that is kept; empty where all of it is there and as it was written."""
        if not kept.leaves and hashlib.sha256(kept.tree.encode()).hexdigest() != kept.digest:
            return "its entry is damaged"
        for leaf in kept.leaves:
            path = self.path(leaf.digest)
            try:
                if path.stat().st_size != leaf.size or digest_file(path) != leaf.digest:
                    return f"artifact {leaf.digest[:12]} is damaged"
            except OSError:
                return f"artifact {leaf.digest[:12]} is not there any more"
        return ""

    def load(
        self,
        kept: KeptValue,
        values: dict[int, Any] | None = None,
        keys: Sequence[str | int] = (),
        checkout: Checkout | None = None,
    ) -> Any:
        """The value itself, or a part of it.

        Args:
            kept: what is kept.
            values: leaves that are loaded already, by number. What all may share is added; what can be changed is taken
                out, so that nobody else has it.
            keys: the parts that are taken, one of the other; what is not in them is not read.
            checkout: where files go, which notes them; by default where they were.

        Raises:
            WorkflowError: when an artifact is not there, or cannot be read.
            LookupError, TypeError: when there is no such part.
        """
        known: dict[int, Any] = {} if values is None else values
        places = checkout or Checkout()

        def leaf(number: int) -> Any:
            ref = kept.leaves[number]
            if not BY_NAME[ref.codec].shared:
                found = known.pop(number, _NOTHING)
                return self._read(ref) if found is _NOTHING else found
            if number not in known:
                known[number] = self._read(ref)
            return known[number]

        tree, left = part_of(unpack(kept.tree or leaf(len(kept.leaves) - 1)), keys)
        value = decode(tree, leaf, lambda found: self._restore(found, kept, places))
        for key in left:
            value = value[key]
        return value

    def put_files_back(self, kept: KeptValue, checkout: Checkout) -> None:
        """Put the files and folders of a value where they belong, as far as they are missing or changed there."""
        for tree in self._files(kept):
            self._restore(tree, kept, checkout)

    def contents(self, kept: KeptValue) -> dict[str, str]:
        """The files and folders of a value: digests of their content, by path."""
        return {_path_of(tree): _content_of(tree, kept) for tree in self._files(kept)}

    def _files(self, kept: KeptValue) -> list[dict[str, Any]]:
        return list(_files_in(unpack(kept.tree or self._read(kept.leaves[-1])))) if kept.has_files else []

    def _read(self, ref: LeafRef) -> Any:
        try:
            return BY_NAME[ref.codec].read(self.path(ref.digest))
        except Exception as error:
            raise WorkflowError(
                f"a kept result ({ref.codec}) cannot be read: {type(error).__name__}: {error}",
                where=str(self.path(ref.digest)),
                hint="run again; what is missing or damaged is made anew",
            ) from error

    def _restore(self, tree: dict[str, Any], kept: KeptValue, checkout: Checkout) -> str:
        """Put a file or folder where it belongs, as far as it is missing or changed there."""
        path, content = _path_of(tree), _content_of(tree, kept)
        place = checkout.place(path, content)
        seen = self._lay(tree, kept, place, content)
        if seen.digest != content and checkout.folder:  # there is more in the folder
            place = checkout.apart(path, content)
            self._lay(tree, kept, place, content)
        elif place == path:
            checkout.seen.append(seen)
        return place

    def _lay(self, tree: dict[str, Any], kept: KeptValue, path: str, content: str) -> FileState:
        """Have a file or folder at a path, and see it there."""
        runs = tree.get("runs", ())
        programs = [os.path.join(path, name) if name else path for name in runs]
        if os.path.exists(path) and (seen := see(path)).digest == content and all(map(may_run, programs)):
            return seen
        if "$file" in tree:
            self._put_back(kept.leaves[tree["$leaf"]], path, "" in runs)
        else:
            os.makedirs(path, exist_ok=True)
            for name, number in tree["files"].items():
                inside = os.path.join(path, *name.split("/"))
                if number is None:
                    os.makedirs(inside, exist_ok=True)
                else:
                    self._put_back(kept.leaves[number], inside, name in runs)
        return see(path)

    def _put_back(self, ref: LeafRef, path: str, runs: bool) -> None:
        same = os.path.isfile(path) and os.path.getsize(path) == ref.size and digest_file(Path(path)) == ref.digest
        if same and (not runs or may_run(path)):
            return
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        try:
            with beside(path) as part:
                shutil.copyfile(self.path(ref.digest), part)
                if runs:
                    mode = os.stat(part).st_mode
                    os.chmod(part, mode | (mode & 0o444) >> 2)  # whoever may read it
        except OSError as error:
            raise WorkflowError(f"a kept file cannot be put back: {error}", where=path, hint="run again") from error


def _place(root: Path, digest: str) -> Path:
    return root / digest[:2] / digest


def _files_in(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "$file" in tree or "$folder" in tree:
            yield tree
        else:
            for each in tree.values():
                yield from _files_in(each)
    elif isinstance(tree, list):
        for each in tree:
            yield from _files_in(each)


def _path_of(tree: dict[str, Any]) -> str:
    return str(tree.get("$file") or tree["$folder"])


def _content_of(tree: dict[str, Any], kept: KeptValue) -> str:
    """The digest of a file or folder as it was kept."""
    if "$file" in tree:
        return str(kept.leaves[tree["$leaf"]].digest)
    files = tree["files"].items()
    return digest_folder({name: "" if number is None else kept.leaves[number].digest for name, number in files})


def digests_of(encoder: Encoder) -> tuple[list[str], tuple[FileState, ...]]:
    """What stands for the leaves of a tree in keys, and the files and folders among them as they were seen, each read once."""
    seen = tuple(see(path) for path in encoder.paths)
    leaves = [f"{leaf.codec} {_digest(leaf)}" for leaf in encoder.leaves if leaf.codec != "file"]
    return [*leaves, *(each.digest for each in seen)], seen


def _digest(leaf: Leaf) -> str:
    if leaf.codec == "pickle":
        return str(leaf.value.content)
    writer = HashingFile()
    BY_NAME[leaf.codec].write(leaf.value, writer)  # type: ignore[arg-type]
    return writer.hash.hexdigest()
