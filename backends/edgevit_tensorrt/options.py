"""The options of the TensorRT backend."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgevit.backend import cache_dir, check_options, threads_option, usable_cores
from edgevit.errors import InputError

# Input name -> smallest, usual and largest shape.
Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
Profile = Mapping[str, Shapes]

NAMES = (
    *("threads", "cache", "workspace", "profiles", "contexts"),
    *("tf32", "optimization_level", "cuda_graph"),
)


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What an engine is built with, and so a part of its name in the cache.

    Args:
        workspace: bytes of scratch memory that a layer may take; None for TensorRT's default.
        tf32: whether float32 products may round their factors to 10 bits.
        optimization_level: TensorRT's, 0-5; None for its default.
        profiles: ranges of shapes, each tuned for its usual one; None for the default.
    """

    workspace: int | None
    tf32: bool
    optimization_level: int | None
    profiles: tuple[Profile, ...] | None

    def facts(self) -> dict[str, Any]:
        """Give the fields as JSON values, as the cache's key takes them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Options:
    """All options, checked.

    Args:
        build: what the engine depends on.
        threads: processor threads of the builder.
        contexts: how many runs may be in flight at a time.
        cuda_graph: whether a run whose shapes stay the same is captured.
        cache: folder of engines; None to keep none.
    """

    build: BuildOptions
    threads: int
    contexts: int
    cuda_graph: bool
    cache: Path | None


def read_options(options: Mapping[str, object]) -> Options:
    """Check options.

    Raises:
        InputError: if one is unknown or has an unusable value.
    """
    check_options(options, NAMES, "tensorrt")
    build = BuildOptions(
        workspace=_number(options, "workspace", None, least=1),
        tf32=_flag(options, "tf32", False),
        optimization_level=_number(options, "optimization_level", None, least=0, most=5),
        profiles=_profiles(options.get("profiles")),
    )
    return Options(
        build=build,
        threads=threads_option(options, usable_cores()),
        contexts=_number(options, "contexts", 2, least=1) or 2,
        cuda_graph=_flag(options, "cuda_graph", True),
        cache=_cache_folder(options.get("cache", True)),
    )


def _number(
    options: Mapping[str, object],
    name: str,
    default: int | None,
    *,
    least: int,
    most: int | None = None,
) -> int | None:
    value = options.get(name)
    if value is None:
        return default
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, int) and is_whole and least <= value <= (most or value):
        return value
    upto = "up" if most is None else f"to {most}"
    raise InputError(f"option {name!r} must be a whole number from {least} {upto}, not {value!r}")


def _flag(options: Mapping[str, object], name: str, default: bool) -> bool:
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"option {name!r} must be true or false, not {value!r}")
    return value


def _cache_folder(cache: object) -> Path | None:
    if isinstance(cache, bool):
        return cache_dir() / "tensorrt" if cache else None
    if isinstance(cache, (str, Path)):
        return Path(cache)
    raise InputError(f"option 'cache' must be true, false or a folder, not {cache!r}")


def _profiles(value: object) -> tuple[Profile, ...] | None:
    if value is None:
        return None
    listed = [value] if isinstance(value, Mapping) else value
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        raise _bad_profile(value)
    return tuple(_profile(profile) for profile in listed)


def _profile(value: object) -> Profile:
    if not isinstance(value, Mapping) or not value:
        raise _bad_profile(value)
    return {str(name): _shapes(shapes) for name, shapes in value.items()}


def _shapes(value: Any) -> Shapes:  # the user's
    try:
        smallest, usual, largest = (tuple(_length(n) for n in shape) for shape in value)
    except (TypeError, ValueError):
        raise _bad_profile(value) from None
    if not len(smallest) == len(usual) == len(largest):
        raise _bad_profile(value)
    if any(not low <= mid <= high for low, mid, high in zip(smallest, usual, largest, strict=True)):
        raise _bad_profile(value)
    return smallest, usual, largest


def _length(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(value)
    return value


def _bad_profile(value: object) -> InputError:
    return InputError(
        "option 'profiles' must map each input to its smallest, usual and largest shape, e.g. "
        "{'image': [[1, 3, 224, 224], [4, 3, 224, 224], [8, 3, 224, 224]]}, or be a list of such "
        f"mappings, not {value!r}"
    )
