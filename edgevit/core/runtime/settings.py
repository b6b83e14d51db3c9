"""What a Predictor runs with, after arguments and device profile are brought together."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgevit.core.cache.files import cache_dir


@dataclass(frozen=True, slots=True)
class Settings:
    """A model's file and how to run it.

    Args:
        path: the file that runs.
        backend: backend name or `auto`.
        device: device name or `auto`.
        threads: threads of one run; None for the backend's default.
        preprocess: `exact` or `fast`; None for the spec's.
        options: the backend's own options.
    """

    path: Path
    backend: str = "auto"
    device: str = "auto"
    threads: int | None = None
    preprocess: str | None = None
    options: Mapping[str, object] | None = None

    @property
    def load_options(self) -> dict[str, object]:
        """What the backend is given: its own options and the threads."""
        threads = {} if self.threads is None else {"threads": self.threads}
        return {**(self.options or {}), **threads}


def profiles_dir() -> Path:
    """Folder of the device profiles; may not exist yet."""
    return cache_dir() / "profiles"
