"""Compiled models on disk, so that the second start of a program is fast.

One folder for each backend, `cache_dir()/<backend>`; `compiled_entry` has the layout of an entry.
A store writes the raw model, then the sidecar, each atomically; a removal goes the other way. So a
kill at any moment leaves nothing, an orphan that `edgevit cache prune` removes, or a whole entry.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, time
from typing import Any

from edgevit.core.cache.entry import (
    LOCK,
    SIDECAR,
    Facts,
    Record,
    UnusableError,
    key_of,
    read_content,
    read_record,
)
from edgevit.core.cache.files import absolute_path, write_atomically
from edgevit.core.cache.folder import entries, make_room, records, remove
from edgevit.core.cache.lock import locked
from edgevit.core.cache.why import why_built

LIMIT_BYTES = 2 * 1024**3  # of one folder; the least recently used entries are removed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """A compiled model out of the cache.

    Args:
        record: what is known about it.
        content: its raw bytes, checked. Give these to the runtime, not the file at `path`, which
            may change again.
        path: the raw model's file.
    """

    record: Record
    content: bytes
    path: Path


class CompiledCache:
    """The compiled models of one backend.

    Example:
        compiled = cache.find(facts)
        if compiled is None:
            with cache.building(facts, model) as build:
                compiled = build.found  # another process was faster
                if compiled is None:
                    content = compile(model)
                    build.store(content)
    """

    def __init__(self, folder: Path, *, suffix: str, limit_bytes: int = LIMIT_BYTES) -> None:
        """Use a folder, which need not exist.

        Args:
            folder: `cache_dir() / <backend>`, or the user's choice.
            suffix: of raw models, as other tools know it: `.plan`, `.blob`.
            limit_bytes: how much the folder may hold.
        """
        self.folder = folder
        self._suffix = suffix
        self._limit_bytes = limit_bytes

    def find(self, facts: Facts) -> CompiledModel | None:
        """Look for a compiled model.

        Args:
            facts: everything it depends on, as JSON values: digests of the model's `files` (see
                `file_digests`), `device`, `options`, versions, hardware. Their names are shown
                to users where they differ.

        Returns:
            The model with the very bytes that were stored, or None. One that is there but damaged,
            or that another user may have written, is reported as a warning.
        """
        try:
            return self._read(facts)
        except UnusableError as exc:
            logger.warning(
                "the cached model in %s is not usable: %s; building it again", self.folder, exc
            )
            return None

    @contextmanager
    def building(self, facts: Facts, model: Path, *, because: str = "") -> Iterator[Build]:
        """Be the only one of all processes that builds this compiled model.

        Whoever else asks for it waits, can be interrupted meanwhile, and then finds it as `found`.
        Why it is built is logged at INFO.

        Args:
            facts: what `find` takes.
            model: the ONNX file.
            because: why it is built, where the caller knows better, as after `discard`.

        Yields:
            The Build. Leaving without `store` keeps nothing; the next in line builds then.
        """
        with self._alone(facts, model):
            build = Build(self, facts, absolute_path(model), because)
            if build.found is None:
                logger.info("building %s: %s", build.model.name, build.why)
            yield build

    def discard(self, compiled: CompiledModel) -> None:
        """Remove a compiled model that its runtime refuses, so that it is built again.

        One that another process has built in its place meanwhile stays.
        """
        try:
            key = key_of(compiled.record.facts)
            for entry in entries(self.folder):
                if entry.key == key:
                    remove(entry, only=compiled.record)
        except OSError as exc:
            logger.warning("%s cannot be removed: %s", compiled.path, exc)

    def _read(self, facts: Facts) -> CompiledModel | None:
        """Read the entry; one that is removed meanwhile is one that is not there."""
        sidecar = self._file(facts, SIDECAR)
        try:
            record = read_record(sidecar)
            path = self._file(facts, self._suffix)
            compiled = CompiledModel(record, read_content(path, record), path)
        except FileNotFoundError:
            return None
        _touch(path)
        return compiled

    def _file(self, facts: Facts, suffix: str) -> Path:
        return self.folder / f"{key_of(facts)}{suffix}"

    @contextmanager
    def _alone(self, facts: Facts, model: Path) -> Iterator[None]:
        def waiting() -> None:
            logger.info("waiting for another process that builds %s", model.name)

        with ExitStack() as stack:
            try:
                _make_folder(self.folder)
                stack.enter_context(locked(self._file(facts, LOCK), waiting))
            except OSError as exc:  # a read-only folder, of which `store` warns, or no locks there
                logger.info("no lock in %s (%s): others may build the same", self.folder, exc)
            yield

    def _why(self, facts: Facts, model: Path) -> str:
        try:
            others = [record for record in records(self.folder) if record.model == str(model)]
        except OSError as exc:
            return f"the cache cannot be read ({exc.strerror})"
        others.sort(key=lambda record: record.built_at, reverse=True)
        return why_built(facts, [record.facts for record in others])

    def _store(self, record: Record, content: bytes) -> None:
        _make_folder(self.folder)
        self._file(record.facts, SIDECAR).unlink(missing_ok=True)
        # Group and others may never write: the reader would refuse the files.
        path = self._file(record.facts, self._suffix)
        try:
            write_atomically(path, content, mode=0o644)
            write_atomically(self._file(record.facts, SIDECAR), record.to_bytes(), mode=0o644)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        try:
            make_room(self.folder, self._limit_bytes, keep=key_of(record.facts))
        except OSError as exc:
            logger.warning("%s may hold more than its limit: %s", self.folder, exc)


@dataclass(slots=True)
class Build:
    """A build that nobody else does at the same time; made by `CompiledCache.building`.

    Args:
        cache: where the model will be kept.
        facts: everything it depends on.
        model: absolute path of the ONNX file.
        because: why it is built; empty to find out.

    `found` is the compiled model where another process has built it meanwhile, otherwise None and
    `why` says in one line why nothing fitted.
    """

    cache: CompiledCache
    facts: Facts
    model: Path
    because: str
    found: CompiledModel | None = field(init=False, default=None)
    why: str = field(init=False, default="")
    _started: float = field(init=False, default_factory=perf_counter)

    def __post_init__(self) -> None:
        try:
            self.found = self.cache._read(self.facts)
            why = "" if self.found else self.cache._why(self.facts, self.model)
        except UnusableError as exc:
            why = f"the cached model {exc}"
        self.why = self.because or why

    def store(self, content: bytes, extras: Mapping[str, Any] | None = None) -> None:
        """Keep what was built; then remove the least recently used above the folder's limit.

        A folder that cannot be written or a full disk is reported as a warning.

        Args:
            content: the raw compiled model.
            extras: what shall be known about it later, as JSON values.
        """
        record = Record(
            model=str(self.model),
            facts=self.facts,
            extras=extras or {},
            suffix=self.cache._suffix,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            built_at=round(time(), 3),
            build_s=round(perf_counter() - self._started, 3),
            why=self.why,
        )
        try:
            self.cache._store(record, content)
        except OSError as exc:
            logger.warning(
                "the compiled model is not kept: %s; name a folder of yours in EDGEVIT_CACHE, "
                "or turn the cache off in the backend's options",
                exc,
            )


def _make_folder(folder: Path) -> None:
    """Make the folder, for this user alone; one that is there is left as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:  # somebody else's folder: it is read only
        logger.debug("cannot mark %s as used", path)
