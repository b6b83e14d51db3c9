"""Options that a caller hands to a backend: which are known, and of what kind they are."""

from collections.abc import Iterable, Mapping

from edgevit.errors import InputError, suggestion


def check_options(options: Mapping[str, object], accepted: Iterable[str], backend: str) -> None:
    """Refuse options that a backend does not know.

    Raises:
        InputError: naming the first unknown option and the accepted ones.
    """
    known = list(accepted)
    for name in options:
        if name not in known:
            listed = ", ".join(map(repr, known))
            raise InputError(
                f"option {name!r} is unknown to backend {backend!r}{suggestion(name, known)}; "
                f"accepted: {listed}"
            )


def threads_option(options: Mapping[str, object], default: int) -> int:
    """Read the `threads` option.

    Raises:
        InputError: if it is not a whole number from 1 up.
    """
    return count_option(options, "threads", default)


def count_option(options: Mapping[str, object], name: str, default: int) -> int:
    """Read an option that counts something; None stands for the default.

    Raises:
        InputError: if it is not a whole number from 1 up.
    """
    count = options.get(name)
    if count is None:
        return default
    return check_count(name, count)


def check_count(name: str, value: object) -> int:
    """Check that an argument counts something that is there.

    Raises:
        InputError: if it is not a whole number from 1 up.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be a whole number from 1 up, not {value!r}")
    return value
