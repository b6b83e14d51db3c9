"""What a backend plugin builds on: the Protocols, the checks that plugins share, and the cache.

Names are loaded on first use: a plugin without a cache of compiled models does not pay for one at
every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgevit._lazy import lend

if TYPE_CHECKING:
    from edgevit.core.backend import AnyArray as AnyArray
    from edgevit.core.backend import AsyncSession as AsyncSession
    from edgevit.core.backend import Backend as Backend
    from edgevit.core.backend import RunHandle as RunHandle
    from edgevit.core.backend import Session as Session
    from edgevit.core.backend import TensorInfo as TensorInfo
    from edgevit.core.backend import check_feeds as check_feeds
    from edgevit.core.backend import check_options as check_options
    from edgevit.core.backend import count_option as count_option
    from edgevit.core.backend import threads_option as threads_option
    from edgevit.core.backend import unknown_device as unknown_device
    from edgevit.core.cache import cache_dir as cache_dir
    from edgevit.core.cache import write_atomically as write_atomically
    from edgevit.core.compiled import Build as Build
    from edgevit.core.compiled import CompiledCache as CompiledCache
    from edgevit.core.compiled import CompiledModel as CompiledModel
    from edgevit.core.cpu import usable_cores as usable_cores
    from edgevit.core.digests import file_digests as file_digests
    from edgevit.core.onnx_file import read_io_types as read_io_types
else:
    __getattr__, __dir__, __all__ = lend(
        __name__,
        {
            "edgevit.core.backend": (
                "AnyArray",
                "AsyncSession",
                "Backend",
                "RunHandle",
                "Session",
                "TensorInfo",
                "check_feeds",
                "check_options",
                "count_option",
                "threads_option",
                "unknown_device",
            ),
            "edgevit.core.cache": ("cache_dir", "write_atomically"),
            "edgevit.core.compiled": ("Build", "CompiledCache", "CompiledModel"),
            "edgevit.core.cpu": ("usable_cores",),
            "edgevit.core.digests": ("file_digests",),
            "edgevit.core.onnx_file": ("read_io_types",),
        },
    )
