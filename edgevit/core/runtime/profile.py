"""Device profiles: what `edgevit tune` measured to be the best way to run a model on this machine.

A profile is one JSON file in `profiles` of the cache folder, named after the size, the digest and
the place of the model it is for. It counts where model, hardware and libraries are those it was
measured with, and is ignored with a reason elsewhere. It may name a file that was converted from
the model and lies in the cache; another model it only recommends.

Looking one up is part of every start, so it asks for little: the folder's listing where there is
one, then the time stamps of the files and of the folders that packages are installed in. Only where
these have changed are files digested and versions compared.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from edgevit.core.cache.digests import file_sha256
from edgevit.core.cache.files import absolute_path, write_atomically
from edgevit.core.machine.cpu import allowed_cpus, cpu_name, usable_cores
from edgevit.core.records import parse, parse_json, require, shown
from edgevit.core.runtime.registry import get_backend
from edgevit.core.runtime.settings import Settings, profiles_dir
from edgevit.errors import BackendError, SpecError

SCHEMA = 1

# Of a fingerprint, what may change without another choice being the best one.
IGNORED = ("kernel", "memory_gib", "python", "system")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileStamp:
    """How a file is known again.

    Args:
        path: its absolute path.
        size: length in bytes.
        modified_ns: time of the last change of its content, nanoseconds since 1970.
        changed_ns: time of the last change of the file or its entry; where the system has none, of
            its creation.
        sha256: digest of its content, in hex.
    """

    path: str
    size: int
    modified_ns: int
    changed_ns: int
    sha256: str

    def is_untouched(self, path: Path) -> bool:
        """Say whether `path` is this very file and was not written to since."""
        status = path.stat()
        return (
            str(absolute_path(path)) == self.path
            and status.st_size == self.size
            and status.st_mtime_ns == self.modified_ns
            and status.st_ctime_ns == self.changed_ns
        )

    def holds(self, path: Path) -> bool:
        """Whether `path` has this content; it is read only if its size or times have changed."""
        try:
            return self.is_untouched(path) or file_sha256(path) == self.sha256
        except OSError:  # it is not there any more
            return False


@dataclass(frozen=True, slots=True)
class QuickFingerprint:
    """What of the machine can be compared at every start.

    Args:
        cpu: processor name.
        cores: physical cores that this process may use.
        processors: logical processors that this process may use.
        packages: folders that packages are installed in, and when they last changed, which they do
            when one is installed or removed; nanoseconds since 1970.
    """

    cpu: str
    cores: int
    processors: int
    packages: Mapping[str, int]

    @classmethod
    def now(cls) -> QuickFingerprint:
        """Read them from this machine, as it is at this moment."""
        return cls(cpu_name(), usable_cores(), len(allowed_cpus()), _package_folders())


@dataclass(frozen=True, slots=True)
class Profile:
    """A device profile.

    Args:
        schema: version of this record.
        model: the model that it is for.
        file: the file that runs: the model's, or one converted from it in the cache.
        precision: `fp32`, `fp16` or `int8`.
        backend: backend name.
        device: device name.
        threads: threads of one run; None for the backend's default.
        preprocess: `exact` or `fast`.
        options: the backend's own options.
        says: what was measured, in half a sentence.
        recommends: path of another model that was found to be better; None if this is the best.
        made: when it was made, as text, in UTC.
        surroundings: see `QuickFingerprint`.
        fingerprint: the machine and the libraries in full, `Fingerprint.to_dict()`.
        evidence: what the choice rests on, JSON values; `edgevit.tune` writes and explains them.
    """

    schema: int
    model: FileStamp
    file: FileStamp
    precision: str
    backend: str
    device: str
    threads: int | None
    preprocess: str
    options: Mapping[str, object]
    says: str
    recommends: str | None
    made: str
    surroundings: QuickFingerprint
    fingerprint: Mapping[str, Any]
    evidence: Mapping[str, Any]

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Read what `to_json` wrote.

        Raises:
            SpecError: if it is not exactly that.
        """
        data = parse_json(text, "the device profile")
        schema = data.get("schema") if isinstance(data, dict) else SCHEMA
        require(schema == SCHEMA, f"the device profile has schema {shown(schema)}, not {SCHEMA}")
        return parse(cls, data, "profile")

    def to_json(self) -> str:
        """Give the JSON document that is kept as the profile's file."""
        return json.dumps(asdict(self), indent=1)

    @property
    def is_converted(self) -> bool:
        """Whether another file than the model's own runs."""
        return self.file.sha256 != self.model.sha256

    def reason_ignored(self) -> str | None:
        """Say why it does not count here and now; None where it does."""
        if self.is_converted and not self.file.holds(Path(self.file.path)):
            return f"the file {self.file.path!r} that it chose is gone or another one"
        return self._changes() or self._lacks()

    def _changes(self) -> str | None:
        """The full comparison is for accelerators, and where the quick one sees a change."""
        if self.device == "cpu" and self.surroundings == QuickFingerprint.now():
            return None
        # Not part of most starts.
        from edgevit.core.machine.fingerprint import Fingerprint, fingerprint

        then = Fingerprint.from_dict(self.fingerprint)
        found = fingerprint().differences(then, ignore=IGNORED)
        return f"it was measured with {'; '.join(found)}" if found else None

    def _lacks(self) -> str | None:
        try:
            devices = get_backend(self.backend).devices()
        except BackendError as exc:
            return str(exc)
        if self.device in devices:
            return None
        return f"backend {self.backend!r} has no device {self.device!r} here"


def stamp(path: Path) -> FileStamp:
    """Look at a file, its content included.

    Raises:
        OSError: if it cannot be read.
    """
    status = path.stat()
    stamps = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return FileStamp(str(absolute_path(path)), *stamps, file_sha256(path))


@dataclass(frozen=True, slots=True)
class ProfileMatch:
    """A profile that is for a model, or for what was in its place.

    Args:
        path: the profile's file.
        profile: what that file holds.
        problem: why it is not for the model; None where it is.
    """

    path: Path
    profile: Profile
    problem: str | None


def write_profile(profile: Profile) -> Path:
    """Keep a profile, in the place of older ones for the same file, and answer its own file.

    Raises:
        OSError: if it cannot be written.
    """
    model = profile.model
    place = _place(model.path)
    path = profiles_dir() / f"{model.size}-{model.sha256[:32]}{place}"
    write_atomically(path, profile.to_json().encode())
    for other in profiles_dir().iterdir():
        if other.name.endswith(place) and other != path:
            other.unlink(missing_ok=True)
    return path


def find_profile(model: Path) -> ProfileMatch | None:
    """Find the profile for a model, whether it counts here and now or not.

    Args:
        model: path of an existing file.

    Returns:
        The profile; None where there is none. One that cannot be read is reported as a warning.
    """
    found = [_judged(read, model) for path in _candidates(model) if (read := read_profile(path))]
    found.sort(key=lambda one: one.problem is not None)  # one that is for the model comes first
    return next(iter(found), None)


def read_profile(path: Path) -> ProfileMatch | None:
    """Read a profile's file; one that is not usable is reported as a warning."""
    try:
        return ProfileMatch(path, Profile.from_json(path.read_text("utf-8")), None)
    except (OSError, UnicodeDecodeError, SpecError) as exc:
        logger.warning("%s is not usable: %s; tune again", path, exc)
        return None


def obey_profile(asked: Settings, *, has_own_spec: bool = False) -> Settings:
    """Fill in from a matching profile what was left open, and say so in one line.

    Args:
        asked: the Predictor's arguments, with the backend `auto`.
        has_own_spec: whether the caller brought a spec in the place of the file's.

    Returns:
        The settings to run with: `asked` itself where there is no profile, or none that counts.
    """
    found = find_profile(asked.path)
    if found is None:
        return asked
    profile = found.profile
    reason = (
        found.problem or _does_not_apply(asked, profile, has_own_spec) or profile.reason_ignored()
    )
    if reason is not None:
        logger.info("device profile %s is ignored: %s", found.path, reason)
        return asked
    better = f"; {profile.recommends!r} was better" if profile.recommends else ""
    logger.info("backend auto: %s, by the device profile %s%s", profile.says, found.path, better)
    return Settings(
        path=Path(profile.file.path) if profile.is_converted else asked.path,
        backend=profile.backend,
        device=profile.device,
        threads=profile.threads if asked.threads is None else asked.threads,
        preprocess=profile.preprocess if asked.preprocess is None else asked.preprocess,
        options=profile.options,
    )


def _does_not_apply(asked: Settings, profile: Profile, has_own_spec: bool) -> str | None:
    if has_own_spec:
        return "it was measured with the file's own spec, another one was passed"
    if asked.options:
        return "options are for one backend; name that as well"
    if asked.device not in ("auto", profile.device):
        return f"it is for device {profile.device!r}, not {asked.device!r}"
    return None


def _candidates(model: Path) -> list[Path]:
    """Profiles for a file of this size, or for one at this place."""
    try:
        paths = sorted(profiles_dir().iterdir())
    except OSError:  # nothing was tuned yet
        return []
    size, place = f"{model.stat().st_size}-", _place(str(absolute_path(model)))
    return [p for p in paths if p.name.startswith(size) or p.name.endswith(place)]


def _place(path: str) -> str:
    """How the name of a profile's file ends."""
    return f"-{crc32(os.fsencode(path)):08x}.json"


def _judged(found: ProfileMatch, model: Path) -> ProfileMatch:
    if found.profile.model.holds(model):
        return found
    return replace(found, problem=f"it is for another model than {str(model)!r} is now")


def _package_folders() -> dict[str, int]:
    """Other folders of `sys.path` hold programs, and whatever these write beside themselves."""
    return {
        folder: Path(folder).stat().st_mtime_ns
        for folder in sys.path
        if folder.endswith(("site-packages", "dist-packages")) and Path(folder).is_dir()
    }
