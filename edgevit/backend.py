"""What a backend plugin builds on: the Protocols, the checks that plugins share, and the cache.

The cache of compiled models is imported when it is first named: a plugin without one does not pay
for it at every start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgevit.core.cache.files import cache_dir, write_atomically
from edgevit.core.machine.cpu import usable_cores
from edgevit.core.runtime.options import check_options, count_option, threads_option
from edgevit.core.runtime.protocols import (
    AnyArray,
    AsyncSession,
    Backend,
    RunHandle,
    Session,
    TensorInfo,
    TunableBackend,
    TuningOptions,
    check_feeds,
    unknown_device,
)

if TYPE_CHECKING:
    from edgevit.core.cache.compiled import Build as Build
    from edgevit.core.cache.compiled import CompiledCache as CompiledCache
    from edgevit.core.cache.compiled import CompiledModel as CompiledModel
    from edgevit.core.cache.digests import file_digests as file_digests
    from edgevit.core.model.metadata import read_io_types as read_io_types

_HOMES = {
    "Build": "edgevit.core.cache.compiled",
    "CompiledCache": "edgevit.core.cache.compiled",
    "CompiledModel": "edgevit.core.cache.compiled",
    "file_digests": "edgevit.core.cache.digests",
    "read_io_types": "edgevit.core.model.metadata",
}

__all__ = [
    "AnyArray",
    "AsyncSession",
    "Backend",
    "Build",
    "CompiledCache",
    "CompiledModel",
    "RunHandle",
    "Session",
    "TensorInfo",
    "TunableBackend",
    "TuningOptions",
    "cache_dir",
    "check_feeds",
    "check_options",
    "count_option",
    "file_digests",
    "read_io_types",
    "threads_option",
    "unknown_device",
    "usable_cores",
    "write_atomically",
]


def __getattr__(name: str) -> Any:  # any public name
    if name not in _HOMES:
        raise AttributeError(f"module 'edgevit.backend' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
