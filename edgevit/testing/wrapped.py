"""A backend whose options are given beforehand, so that the kit can be run with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevit.backend import Backend, Session


@dataclass(frozen=True)
class BackendWithOptions:
    """A backend that loads every model with `options`, and with those of the call over them.

    Example:
        CHECKS[rule](BackendWithOptions(MyBackend(), {"streams": 2}), "cpu")
    """

    backend: Backend
    options: Mapping[str, object]

    def devices(self) -> Sequence[str]:
        """The wrapped backend's own devices."""
        return self.backend.devices()

    def load(self, model: Path, *, device: str, options: Mapping[str, object]) -> Session:
        """Load with `self.options`, over which the call's own win."""
        return self.backend.load(model, device=device, options={**self.options, **options})
