"""What a backend plugin builds on: the Protocols and the checks that plugins share."""

from edgevit.core.backend import (
    AnyArray,
    AsyncSession,
    Backend,
    RunHandle,
    Session,
    TensorInfo,
    check_feeds,
    check_options,
    count_option,
    threads_option,
    unknown_device,
)
from edgevit.core.cache import cache_dir, write_atomically
from edgevit.core.cpu import usable_cores

__all__ = [
    "AnyArray",
    "AsyncSession",
    "Backend",
    "RunHandle",
    "Session",
    "TensorInfo",
    "cache_dir",
    "check_feeds",
    "check_options",
    "count_option",
    "threads_option",
    "unknown_device",
    "usable_cores",
    "write_atomically",
]
