"""What a backend plugin builds on: the Protocols, the checks that plugins share, and the cache.

Names are loaded on first use: a plugin without a cache of compiled models does not pay for one at
every start.
"""

from typing import TYPE_CHECKING

from edgevit._lazy import lend

if TYPE_CHECKING:
    from edgevit.core.cache.compiled import Build as Build
    from edgevit.core.cache.compiled import CompiledCache as CompiledCache
    from edgevit.core.cache.compiled import CompiledModel as CompiledModel
    from edgevit.core.cache.digests import file_digests as file_digests
    from edgevit.core.cache.files import cache_dir as cache_dir
    from edgevit.core.cache.files import write_atomically as write_atomically
    from edgevit.core.machine.cpu import usable_cores as usable_cores
    from edgevit.core.model.metadata import read_io_types as read_io_types
    from edgevit.core.runtime.options import check_options as check_options
    from edgevit.core.runtime.options import count_option as count_option
    from edgevit.core.runtime.options import threads_option as threads_option
    from edgevit.core.runtime.protocols import AnyArray as AnyArray
    from edgevit.core.runtime.protocols import AsyncSession as AsyncSession
    from edgevit.core.runtime.protocols import Backend as Backend
    from edgevit.core.runtime.protocols import RunHandle as RunHandle
    from edgevit.core.runtime.protocols import Session as Session
    from edgevit.core.runtime.protocols import TensorInfo as TensorInfo
    from edgevit.core.runtime.protocols import TunableBackend as TunableBackend
    from edgevit.core.runtime.protocols import TuningOptions as TuningOptions
    from edgevit.core.runtime.protocols import check_feeds as check_feeds
    from edgevit.core.runtime.protocols import unknown_device as unknown_device
else:
    __getattr__, __dir__, __all__ = lend(
        __name__,
        {
            "edgevit.core.cache.compiled": ("Build", "CompiledCache", "CompiledModel"),
            "edgevit.core.cache.digests": ("file_digests",),
            "edgevit.core.cache.files": ("cache_dir", "write_atomically"),
            "edgevit.core.machine.cpu": ("usable_cores",),
            "edgevit.core.model.metadata": ("read_io_types",),
            "edgevit.core.runtime.options": ("check_options", "count_option", "threads_option"),
            "edgevit.core.runtime.protocols": (
                "AnyArray",
                "AsyncSession",
                "Backend",
                "RunHandle",
                "Session",
                "TensorInfo",
                "TunableBackend",
                "TuningOptions",
                "check_feeds",
                "unknown_device",
            ),
        },
    )
