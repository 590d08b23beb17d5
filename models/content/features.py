"""Part vectors on disk, so that nothing is encoded twice: by tower revision and content hash.

    <root>/<tower revision>/<uuid>.safetensors     hashes (n, 16) uint8, parts (n, S, d) float16, mask (n, S) bool

Files are only ever added, each written aside, fsynced and renamed, so several processes may read and write at
once: the catalog role encodes, the trainer reads. What is half-written has another name and is cleaned up; what is
damaged is deleted, as all of it can be encoded again; a value that is not finite is damage, as none is stored.
"""

import hashlib
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from models.content.table import ContentError
from models.durable import LockTimeoutError, file_lock, write_durably

MERGE_FILES = 64  # small files of a revision from which `put` merges them
SMALL_ROWS = 4_096  # a file of fewer rows is small
STALE_S = 600.0  # a half-written file of that age has no writer any more
_HASH_BYTES = 16
_LOCK_S = 0.0  # whoever finds a merge going on leaves it to the other


def content_hash(*parts: str | bytes) -> str:
    """Hash of an item's content, 32 hex digits; the same texts cut at other places give another."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[: 2 * _HASH_BYTES]


class Features(NamedTuple):
    """What was found.

    Attributes:
        row_of: row of each hash found.
        parts: (n, S, d) float32.
        mask: (n, S) bool.
    """

    row_of: dict[str, int]
    parts: Tensor
    mask: Tensor


class FeatureStore:
    """A folder of part vectors. Safe for several threads and processes.

    Args:
        root: the folder, which is made where it is missing.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, dict[Path, dict[str, int]]] = {}  # revision -> file -> hash -> row
        for stale in root.glob("*/.*.tmp"):
            _delete_stale(stale)

    def get(self, revision: str, hashes: Sequence[str]) -> Features:
        """The vectors of those hashes that are stored; the others are missing from `row_of`."""
        wanted = set(hashes)
        found = self._read(revision, wanted)
        if len(found.row_of) == len(wanted):
            return found
        del found  # two at once are twice the room
        self.refresh(revision)
        return self._read(revision, wanted)

    def put(self, revision: str, hashes: Sequence[str], *, parts: Tensor, mask: Tensor) -> None:
        """Store vectors durably; a hash stored twice has two equal rows, of which one is read.

        Args:
            revision: of the tower that made them.
            hashes: n content hashes.
            parts: (n, S, d), kept as float16.
            mask: (n, S) bool.

        Raises:
            ContentError: shapes that do not belong together, or a value that is not finite as float16; nothing is
                stored, as it would be read for ever.
            OSError: the disk is full or the folder cannot be written.
        """
        if not hashes:
            return
        _check(revision, len(hashes), parts, mask)
        folder = self._root / revision
        folder.mkdir(exist_ok=True)
        self._write(revision, folder, hashes, (parts, mask))
        if len(self._small(revision)) >= MERGE_FILES:
            self.merge(revision)

    def refresh(self, revision: str) -> None:
        """Take in the files that other processes added, forget those they merged away."""
        files = self._files.setdefault(revision, {})
        known = list(files)  # a copy, and taken first: another thread may add files meanwhile
        present = list((self._root / revision).glob("*.safetensors"))
        for path in set(known).difference(present):
            files.pop(path, None)
        for path in sorted(set(present).difference(known)):
            tensors = _load(path)
            if tensors is not None:
                files[path] = {digest: row for row, digest in enumerate(_unpacked(tensors["hashes"]))}

    def merge(self, revision: str) -> None:
        """Make one file of the small ones; where another process is at it, leave it to that one."""
        folder = self._root / revision
        try:
            with file_lock(folder / ".merge.lock", timeout_s=_LOCK_S):
                self.refresh(revision)
                paths = self._small(revision)
                if len(paths) < 2:
                    return  # another store merged them before this one got the lock
                rows = {digest: None for path in paths for digest in self._files[revision][path]}
                merged = self._read(revision, set(rows))
                self._write(revision, folder, list(merged.row_of), (merged.parts, merged.mask))
                for path in paths:
                    path.unlink(missing_ok=True)
                self.refresh(revision)
        except LockTimeoutError:
            return

    def _small(self, revision: str) -> list[Path]:
        return [path for path, rows in list(self._files.get(revision, {}).items()) if len(rows) < SMALL_ROWS]

    def _write(self, revision: str, folder: Path, hashes: Sequence[str], made: tuple[Tensor, Tensor]) -> None:
        path = folder / f"{uuid.uuid4().hex}.safetensors"
        parts, mask = made
        tensors = {"hashes": _packed(hashes), "parts": parts.half().contiguous(), "mask": mask.contiguous()}
        write_durably(path, save(tensors))
        self._files.setdefault(revision, {})[path] = {digest: row for row, digest in enumerate(hashes)}

    def _read(self, revision: str, wanted: set[str]) -> Features:
        pieces = list(self._pieces(revision, set(wanted)))
        if not pieces:
            return Features({}, torch.zeros(0, 1, 0), torch.zeros(0, 1, dtype=torch.bool))
        longest = max(mask.shape[1] for _, _, mask in pieces)
        widths = sorted({parts.shape[2] for _, parts, _ in pieces})
        if len(widths) > 1:
            raise ContentError(f"vectors of {revision} are {widths} wide; delete {self._root / revision}")
        hashes = [digest for piece, _, _ in pieces for digest in piece]
        parts = torch.zeros(len(hashes), longest, widths[0])
        mask = torch.zeros(len(hashes), longest, dtype=torch.bool)
        end = 0
        for piece, halves, is_part in pieces:
            start, end = end, end + len(piece)
            parts[start:end, : is_part.shape[1]] = halves
            mask[start:end, : is_part.shape[1]] = is_part
        return Features({digest: row for row, digest in enumerate(hashes)}, parts, mask)

    def _pieces(self, revision: str, wanted: set[str]) -> Iterator[tuple[list[str], Tensor, Tensor]]:
        """Hashes, parts and mask by file, each hash once; `wanted` is used up."""
        for path, rows in list(self._files.get(revision, {}).items()):
            here = list(wanted & rows.keys())
            tensors = _load(path) if here else None
            if tensors is not None:
                at = torch.tensor([rows[digest] for digest in here])
                yield here, tensors["parts"][at], tensors["mask"][at]
                wanted.difference_update(here)


def _check(revision: str, n_hashes: int, parts: Tensor, mask: Tensor) -> None:
    if parts.ndim != 3 or parts.shape[:2] != mask.shape or len(parts) != n_hashes:
        shapes = f"parts {tuple(parts.shape)} and mask {tuple(mask.shape)}"
        raise ContentError(f"{revision} gave {shapes} for {n_hashes} hashes, wants (n, S, d) and (n, S)")
    bad = ~torch.isfinite(parts.half())
    if bad.any():
        row, part, column = (int(index) for index in bad.nonzero()[0])
        value = float(parts[row, part, column])
        raise ContentError(
            f"{revision} gave {value:g} in part {part} of row {row}, wants numbers that float16 holds; "
            "check the tower's weights"
        )


def _load(path: Path) -> dict[str, Tensor] | None:
    """A file's tensors; None where another process merged it away, or it is damaged and therefore deleted."""
    try:
        tensors = load_file(path)
        _ = tensors["hashes"], tensors["mask"]
        is_whole = bool(tensors["parts"].sum(dtype=torch.float32).isfinite())  # a copy less than asking each value
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError):
        is_whole = False
    if not is_whole:
        path.unlink(missing_ok=True)
        return None
    return tensors


def _packed(hashes: Sequence[str]) -> Tensor:
    """Hex digests to (n, 16) uint8."""
    return torch.frombuffer(bytearray(bytes.fromhex("".join(hashes))), dtype=torch.uint8).view(-1, _HASH_BYTES)


def _unpacked(hashes: Tensor) -> list[str]:
    return [bytes(row).hex() for row in hashes.tolist()]


def _delete_stale(path: Path) -> None:
    try:
        if time.time() - path.stat().st_mtime > STALE_S:
            path.unlink()
    except FileNotFoundError:
        return
