"""The registry: a folder of immutable bundles and one pointer, the only truth about the current model.

    bundles/v000001-1a2b3c4d/   published versions
    current.json                the pointer: current and previous version, who promoted it, whether paused
    refusals.jsonl              cycles whose model was refused, with the reason
    stages/                     half-written bundles; `clean` removes those left behind
    registry.lock               held for the moment of a change

The trainer publishes, and so does a model fitted by hand; an operator may move the pointer through the API.
Publishing is: write, fsync, rename. A kill at any moment leaves the old state or the new one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from models.durable import LockTimeoutError, file_lock, fsync_path, fsync_tree, sha256_of, write_durably
from models.registry.bundle import (
    MANIFEST,
    Bundle,
    DamagedPointer,
    Manifest,
    NotCurrent,
    RegistryBusy,
    RegistryError,
    UnknownVersion,
    read_manifest,
)
from models.registry.pointer import VERSION, By, Pointer, promoted, read_pointer, rolled_back
from models.registry.refusals import Refusal, append_refusal, read_refusals

LOCK_TIMEOUT_S = 10.0
UNFINISHED_S = 3_600.0  # a bundle that is being written was touched later than that
DELETED = "deleted-"


def wall_ms() -> int:
    """Wall clock, ms since 1970."""
    return time.time_ns() // 1_000_000


class Registry:
    """The folder of bundles and its pointer; safe to open from several processes."""

    def __init__(
        self, root: Path, *, now_ms: Callable[[], int] = wall_ms, lock_timeout_s: float = LOCK_TIMEOUT_S
    ) -> None:
        self.root = root
        self._now_ms = now_ms
        self._lock_timeout_s = lock_timeout_s
        self._bundles = root / "bundles"
        self._stages = root / "stages"
        self._pointer = root / "current.json"
        self._refusals = root / "refusals.jsonl"
        for folder in (self._bundles, self._stages):
            folder.mkdir(parents=True, exist_ok=True)

    # Bundles ----------------------------------------------------------------------------------------------

    def stage(self) -> Path:
        """A new empty folder to write a bundle's files in; `publish` takes it, or `clean`, an hour later."""
        path = self._stages / uuid.uuid4().hex
        path.mkdir()
        return path

    def publish(self, stage: Path, draft: Manifest) -> str:
        """Make the files in `stage` an immutable version; it is not current until promoted.

        Args:
            stage: a folder from `stage()`; it is moved, and gone afterwards.
            draft: the manifest without `version` and `files`.

        Returns:
            The version, such as "v000001-1a2b3c4d".

        Raises:
            RegistryError: the stage is empty.
            RegistryBusy: another process held the lock past the deadline.
        """
        files = {str(p.relative_to(stage)): sha256_of(p) for p in sorted(stage.rglob("*")) if p.is_file()}
        if not files:
            raise RegistryError(f"stage {stage} holds no files; write the weights there before publishing")
        with self._lock():
            manifest = replace(draft, files=files, version="")
            digest = hashlib.sha256(manifest.to_json()).hexdigest()[:8]
            version = f"v{self._last_number() + 1:06d}-{digest}"
            fsync_tree(stage)
            write_durably(stage / MANIFEST, replace(manifest, version=version).to_json())
            stage.rename(self._bundles / version)
            fsync_path(self._bundles)
        return version

    def versions(self) -> list[str]:
        """Published versions, oldest first."""
        return sorted((p.name for p in self._bundles.iterdir() if VERSION.fullmatch(p.name)), key=_number)

    def manifests(self) -> list[Manifest]:
        """Manifests of all published versions, oldest first.

        Raises:
            DamagedBundle: one cannot be read; the message names its folder.
        """
        found: list[Manifest] = []
        for version in self.versions():
            try:
                found.append(self.manifest(version))
            except RegistryError:
                if (self._bundles / version).exists():
                    raise  # else it was pruned since it was listed
        return found

    def manifest(self, version: str) -> Manifest:
        """The manifest of a published version, files unchecked.

        Raises:
            UnknownVersion, DamagedBundle.
        """
        return read_manifest(self.path(version))

    def open(self, version: str) -> Bundle:
        """A published version, every file checked.

        Raises:
            UnknownVersion, DamagedBundle.
        """
        return Bundle.open(self.path(version))

    def path(self, version: str) -> Path:
        """The folder of a published version.

        Raises:
            UnknownVersion: there is none, or it is no version name.
        """
        path = self._bundles / version
        if not VERSION.fullmatch(version) or not path.is_dir():
            known = ", ".join(self.versions()[-5:]) or "none yet"
            raise UnknownVersion(f"no model version {version[:80]!r}; the newest published: {known}")
        return path

    # The pointer ------------------------------------------------------------------------------------------

    def current(self) -> Pointer | None:
        """The pointer; None before the first promotion.

        Raises:
            DamagedPointer: it cannot be read, or names a bundle that is gone.
        """
        try:
            raw = self._pointer.read_bytes()
        except FileNotFoundError:
            return None
        try:
            pointer = read_pointer(raw)
        except ValueError as exc:
            raise self._damaged_pointer(str(exc)) from exc
        if not (self._bundles / pointer.version / MANIFEST).is_file():
            raise self._damaged_pointer(f"it names {pointer.version!r}, which is not in {self._bundles}")
        return pointer

    def promote(self, version: str, *, by: By, reason: str) -> Pointer:
        """Make `version` current. By hand it also resumes automatic promotion, and repairs a damaged pointer.

        The gate replaces only the version's parent, which it judged against.

        Raises:
            UnknownVersion, DamagedBundle: nothing changes.
            PromotionPaused: `by` is "gate" after a rollback by hand; the bundle stays published.
            NotCurrent: `by` is "gate" and the parent is not current by now; the bundle stays published.
            DamagedPointer: `by` is "gate" and the pointer cannot be read.
            RegistryBusy: another process held the lock past the deadline.
        """
        manifest = self.open(version).manifest
        with self._lock():
            self.path(version)
            old = self._old_pointer(by)
            new = promoted(old, version, by=by, reason=reason, now_ms=self._now_ms())
            if by == "gate":
                _check_judged_against(old, manifest)
            return self._point(new)

    def rollback(self, *, by: By, reason: str, only_from: str | None = None) -> Pointer:
        """Return to the previous version. By hand it also pauses automatic promotion.

        Args:
            by: who asks.
            reason: kept with the pointer.
            only_from: the version to leave; where another is current by now, nothing changes.

        Raises:
            NotCurrent: `only_from` is not the current version.
            NothingToRollBack: there is no previous version.
            UnknownVersion, DamagedBundle: the previous version is gone or damaged; nothing changes.
            DamagedPointer, RegistryBusy.
        """
        with self._lock():
            old = self.current()
            new = rolled_back(old, by=by, reason=reason, only_from=only_from, now_ms=self._now_ms())
            self.open(new.version)
            return self._point(new)

    # Refusals and housekeeping ----------------------------------------------------------------------------

    def refuse(self, *, reason: str, metrics: Mapping[str, float], parent: str | None = None) -> Refusal:
        """Record that a cycle's model was refused.

        Raises:
            RegistryBusy: another process held the lock past the deadline.
        """
        refusal = Refusal(self._now_ms(), parent, reason, dict(metrics))
        with self._lock():
            append_refusal(self._refusals, refusal)
        return refusal

    def refusals(self) -> list[Refusal]:
        """Refused cycles, oldest first.

        Raises:
            RegistryError: a line other than a torn last one is damaged.
        """
        return read_refusals(self._refusals)

    def prune(self, *, keep: int) -> list[str]:
        """Delete all but the newest `keep` versions that cycles made.

        The current and the previous one always stay, and so do those that cannot be read.

        Returns:
            The versions deleted, oldest first.

        Raises:
            ValueError: `keep` is below 1.
            DamagedPointer: what is current cannot be told, so nothing is deleted.
        """
        if keep < 1:
            raise ValueError(f"keep={keep} must be at least 1")
        with self._lock():
            pointer = self.current()
            held = {pointer.version, pointer.previous} if pointer else set()
            of_cycles = [version for version in self.versions() if self._is_of_a_cycle(version)]
            doomed = [version for version in of_cycles[:-keep] if version not in held]
            for version in doomed:
                self._delete_bundle(version)
        return doomed

    def clean(self) -> list[str]:
        """Remove half-written bundles that nobody is at any more, half-deleted ones, and half-written pointers.

        Returns:
            The names removed.
        """
        oldest_s = time.time() - UNFINISHED_S
        with self._lock():
            stages = [path for path in self._stages.iterdir() if _is_left(path, oldest_s)]
            leftovers = [*stages, *self.root.glob(".*.tmp")]
            for path in leftovers:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        return sorted(path.name for path in leftovers)

    # Inside -----------------------------------------------------------------------------------------------

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            with file_lock(self.root / "registry.lock", timeout_s=self._lock_timeout_s):
                yield
        except LockTimeoutError as exc:
            raise RegistryBusy(f"the model registry is busy: {exc}; try again") from exc

    def _point(self, pointer: Pointer) -> Pointer:
        write_durably(self._pointer, json.dumps(asdict(pointer), indent=2).encode())
        return pointer

    def _old_pointer(self, by: By) -> Pointer | None:
        try:
            return self.current()
        except DamagedPointer:
            if by == "operator":
                return None
            raise

    def _damaged_pointer(self, why: str) -> DamagedPointer:
        return DamagedPointer(
            f"model pointer {self._pointer} is damaged: {why}; choose a version with "
            f"`freshet models promote VERSION` (published: {', '.join(self.versions()[-5:]) or 'none'}), "
            f"or delete the file to start without a model"
        )

    def _last_number(self) -> int:
        versions = self.versions()
        return _number(versions[-1]) if versions else 0

    def _is_of_a_cycle(self, version: str) -> bool:
        try:
            return "cycle" in self.manifest(version).config
        except RegistryError:
            return False

    def _delete_bundle(self, version: str) -> None:
        """Move aside first: a kill half-way must not leave a version with some of its files."""
        doomed = self._stages / f"{DELETED}{version}"
        (self._bundles / version).rename(doomed)
        fsync_path(self._bundles)
        shutil.rmtree(doomed)


def _number(version: str) -> int:
    return int(version[1:].split("-", maxsplit=1)[0])


def _is_left(stage: Path, oldest_s: float) -> bool:
    return stage.name.startswith(DELETED) or stage.stat().st_mtime <= oldest_s


def _check_judged_against(old: Pointer | None, manifest: Manifest) -> None:
    current = old.version if old else None
    if current not in (manifest.parent, manifest.version):
        why = f" ({old.reason})" if old else ""
        raise NotCurrent(
            f"{manifest.version} stays published but not current: it was judged against {manifest.parent or 'none'}, "
            f"and {current or 'none'} is current now{why}"
        )
