"""Open checkpoint files without running anything that they contain.

A file of `torch.save` is a pickle beside raw tensors, and a pickle may name any function to call.
So torch's own restricted reader (`weights_only=True`) does the reading. The official trainers put
settings and logs beside the weights; the classes of those, listed here by name, become stand-ins
that keep nothing. The real classes are neither imported nor called, and need not be installed.
"""

from __future__ import annotations

import re
import threading
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import safe_globals

from edgevit.errors import ExportError, ModelNotFoundError

# Objects that official checkpoints hold beside their tensors.
_OBJECTS = (
    "argparse.Namespace",  # CAS-ViT, timm: `args`
    "mmengine.logging.history_buffer.HistoryBuffer",  # mmengine: `message_hub`
    "builtins.getattr",  # how pickle spells the methods that a HistoryBuffer carries
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",  # NumPy 1
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",  # NumPy 2
    "numpy._core.multiarray.scalar",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",  # Python 3.13
    "pathlib._local.WindowsPath",
    "builtins.dict",  # factories of a defaultdict
    "builtins.float",
    "builtins.int",
    "builtins.list",
)
# Subclasses of dict, whose items a pickle sets one by one.
_DICTIONARIES = (
    "yacs.config.CfgNode",  # LITv2: `config`
    "mmengine.config.config.ConfigDict",
    "mmcv.utils.config.ConfigDict",
    "addict.addict.Dict",
    "collections.defaultdict",
)
PLAIN_SAVE = "torch.save(model.state_dict(), 'weights.pth')"
_LOCK = threading.Lock()  # torch keeps its list of safe globals for the whole process


class _Object:
    """Stands for an object that is not needed: takes any arguments and any state, keeps none."""

    __slots__ = ()

    def __new__(cls, *_: object) -> _Object:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        del state


class _Dictionary:
    """Stands for a subclass of dict; gives the plain one, the only kind that torch will fill."""

    def __new__(cls, *_: object) -> OrderedDict[object, object]:  # type: ignore[misc]
        return OrderedDict()


def read_objects(path: Path) -> object:
    """Read what a checkpoint file holds.

    Args:
        path: a file of `torch.save`, in the zip format or the one before torch 1.6, or of
            safetensors.

    Returns:
        The saved object: tensors on the CPU, possibly mapped from the file, in plain containers.
        Settings and logs are inert.

    Raises:
        ModelNotFoundError: if there is no such file.
        ExportError: if it is damaged, of another kind, or holds objects that are not on the list.
    """
    start = _start_of(path)
    if path.suffix == ".safetensors" or start[8:10] == b'{"':
        return _read_safetensors(path)
    for magic, read in _READERS.items():
        if start.startswith(magic):
            return read(path)
    raise ExportError(f"{str(path)!r} is not a checkpoint of torch.save: {_looks_like(start)}")


def _start_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"there is no checkpoint file {str(path)!r}") from error
    except (OSError, ValueError) as error:
        raise ExportError(f"the checkpoint {str(path)!r} cannot be read: {error}") from error
    if not start:
        raise ExportError(f"the checkpoint {str(path)!r} is empty; download or copy it again")
    return start


def _looks_like(start: bytes) -> str:
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, saved in place of the file; download the file itself"
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file itself with `git lfs pull`"
    if start[257:262] == b"ustar":
        return f"it is a tar archive; unpack it, or save it again with {PLAIN_SAVE}"
    return f"it begins with {start[:16]!r}; save one with {PLAIN_SAVE}"


def _read_zip(path: Path) -> object:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_zip(path, archive)
    except (zipfile.BadZipFile, ValueError, RuntimeError, OSError, EOFError) as error:
        raise _damaged(path, error) from error
    # Mapped, a tensor can claim no more bytes than the file has, and optimizer states cost nothing.
    return _load(path, mmap=True)


def _check_zip(path: Path, archive: zipfile.ZipFile) -> None:
    entries = archive.infolist()
    names = {entry.filename.rpartition("/")[2] for entry in entries}
    if "constants.pkl" in names:
        raise ExportError(
            f"{str(path)!r} is a TorchScript program, not weights; save them with {PLAIN_SAVE}"
        )
    if "data.pkl" not in names:
        raise ExportError(f"{str(path)!r} is a zip archive, but not of torch.save; unpack it first")
    size = path.stat().st_size
    if not all(_is_stored(entry, size) for entry in entries):
        raise ExportError(
            f"{str(path)!r} has compressed entries, which torch.save never writes and which could "
            f"grow without bound; save it again with {PLAIN_SAVE}"
        )
    for entry in entries:
        if entry.CRC != 0:  # what torch writes when told to compute none
            with archive.open(entry) as stream:
                while stream.read(1 << 20):
                    pass  # raises BadZipFile at the end where the sum differs; torch checks none


def _is_stored(entry: zipfile.ZipInfo, size: int) -> bool:
    is_raw = entry.compress_type == zipfile.ZIP_STORED and entry.file_size == entry.compress_size
    return is_raw and entry.file_size <= size


def _read_stream(path: Path) -> object:
    return _load(path, mmap=False)


_READERS: dict[bytes, Callable[[Path], object]] = {b"PK\x03\x04": _read_zip, b"\x80": _read_stream}


def _load(path: Path, *, mmap: bool) -> object:
    with _LOCK, warnings.catch_warnings(), safe_globals([*_stand_ins()]):
        warnings.simplefilter("ignore")  # of pickle protocols: what torch cannot read, it refuses
        try:
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=mmap)
        except Exception as error:  # a damaged or hostile file can fail anywhere in torch's reader
            raise _refused(path, error) or _damaged(path, error) from error


def _stand_ins() -> list[Callable[..., object]]:
    """Classes that bear the listed names, by which torch looks them up."""
    stand_ins: list[Callable[..., object]] = []
    for base, names in ((_Object, _OBJECTS), (_Dictionary, _DICTIONARIES)):
        for name in names:
            module, _, qualname = name.rpartition(".")
            stand_ins.append(type(qualname, (base,), {"__module__": module, "__slots__": ()}))
    return stand_ins


def _refused(path: Path, error: Exception) -> ExportError | None:
    """The error for a global that torch would not load, or None if `error` is another one."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named is None:
        return None
    name = named[1][:200]
    return ExportError(
        f"{str(path)!r} was not loaded: its pickle refers to "
        f"{name if '.' in name else 'builtins.' + name!r}, and a checkpoint may hold tensors and "
        "plain settings only, because loading anything else could run code from the file. "
        f"In the program that wrote it, save a plain state dict with {PLAIN_SAVE}"
    )


def _damaged(path: Path, error: Exception) -> ExportError:
    message = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    reason = message.splitlines()[0][:200] if message else type(error).__name__
    return ExportError(
        f"the checkpoint {str(path)!r} cannot be read: it is truncated, damaged or not of "
        f"torch.save ({reason}); download or copy it again, or save it with {PLAIN_SAVE}"
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as exc:
        raise ExportError(
            f"{str(path)!r} is not a whole safetensors file ({repr(exc)[:200]}); "
            "download or copy it again"
        ) from exc
