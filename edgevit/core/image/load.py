"""The one entrance for images: paths, encoded bytes, PIL images and arrays become uint8 pixels.

A file or bytes are decoded once their header has been read (`image_header`), so a size that no
memory should be spent on is refused before the decoder sees it. OpenCV decodes and nothing more:
orientation, alpha and depth are handled here, the same for every OpenCV version. Pillow is never
imported; its images are recognized when the caller has imported it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeGuard

import cv2
import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.header import read_header
from edgevit.errors import InputError

# 11585 x 11585 pixels, 400 MB once decoded: above every 100-megapixel camera.
MAX_PIXELS = 2**27
MAX_FILE_BYTES = 2**29

Color: TypeAlias = Literal["bgr", "rgb"]
Pixels: TypeAlias = NDArray[np.uint8]


class PillowImage(Protocol):
    """The part of `PIL.Image.Image` that is used here."""

    @property
    def mode(self) -> str:
        """Pixel format, such as "RGB" or "CMYK"."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, as Pillow orders them."""

    @property
    def info(self) -> Mapping[Any, Any]:  # Any: Pillow's own, keys and values of every type
        """What the file says besides its pixels."""

    def load(self) -> object:
        """Decode the pixels, which Pillow puts off until then."""

    def getexif(self) -> Mapping[int, Any]:  # Any: an EXIF value has one of many types
        """EXIF values by tag number; empty where the file has none."""

    def convert(self, mode: str) -> PillowImage:
        """Copy to another pixel format, such as "RGB"."""


# Any: an array of any dtype may be given, and is checked.
ImageSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[Any] | PillowImage
)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedImage:
    """An upright color image and the order of its channels.

    The order is a fact to use where the channels are normalized, so that swapping them never costs
    a pass over the image.

    Args:
        pixels: uint8 (H, W, 3), contiguous. May be the caller's own array: read, do not write.
        color: "bgr" or "rgb".
    """

    pixels: Pixels
    color: Color


def load_image(
    source: ImageSource, *, color: Color = "bgr", pad_color: tuple[int, int, int] = (0, 0, 0)
) -> LoadedImage:
    """Load an image from whatever holds it.

    Files and bytes: JPEG, PNG, WebP, GIF and BMP, recognized by content, the first frame of an
    animation. EXIF orientation is obeyed, for PIL images too. 16-bit values are scaled to 8 bits,
    round(v / 257), and alpha is blended with `pad_color`. Not read: alpha in a BMP, where the
    fourth byte is mostly unused, and the transparent level of a PNG without color.

    Args:
        source: a path; encoded bytes; a PIL image, except modes "I" and "F", which have no fixed
            range; or an array, uint8 or uint16, (H, W, 3), (H, W, 1) or (H, W). A contiguous uint8
            (H, W, 3) array is returned itself.
        color: channel order of an *array*, "bgr" or "rgb". Other sources state their own.
        pad_color: what shows through transparent pixels, 0-255, always in the order B, G, R.

    Returns:
        The pixels, uint8 (H, W, 3), and their channel order: `color` for an array, "rgb" for a PIL
        image, "bgr" for everything that is decoded here.

    Raises:
        InputError: if the source is of another kind, cannot be read, is damaged or cut short, or is
            larger than MAX_PIXELS (2**27 pixels) or MAX_FILE_BYTES (2**29 bytes).

    Example:
        >>> import numpy as np
        >>> load_image(np.zeros((2, 4), np.uint8)).pixels.shape
        (2, 4, 3)
    """
    if color not in ("bgr", "rgb"):
        raise InputError(f"color {color!r} is not a channel order; accepted: 'bgr', 'rgb'")
    if isinstance(source, np.ndarray):
        return LoadedImage(_pixels_from_array(source), color)
    if isinstance(source, bytes | bytearray | memoryview):
        return LoadedImage(_decode(bytes(source), pad_color), "bgr")
    if isinstance(source, str | os.PathLike):
        return LoadedImage(_pixels_from_file(os.fsdecode(source), pad_color), "bgr")
    if _is_pillow(source):
        return LoadedImage(_pixels_from_pillow(source, pad_color), "rgb")
    raise InputError(
        f"image is a {type(source).__module__}.{type(source).__qualname__}; accepted: a path, "
        "encoded bytes, a PIL image, or a NumPy array of uint8 (H, W, 3). Convert it to one of them"
    )


def _pixels_from_file(path: str, pad_color: tuple[int, int, int]) -> Pixels:
    name = repr(path if len(path) <= 300 else path[:300] + "...")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|data:", path):
        raise InputError(f"image {name} is a URL, not a path; fetch it and pass the path or bytes")
    try:
        data = _read_bounded(path)
    except (OSError, ValueError) as exc:  # ValueError: a path with a null character
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise InputError(f"image {name} cannot be read: {reason}") from exc
    try:
        return _decode(data, pad_color)
    except InputError as exc:
        raise InputError(f"image {name}: {exc}") from exc


def _read_bounded(path: str) -> bytes:
    """Read a regular file; opening a pipe could wait for ever."""
    status = os.stat(path)  # noqa: PTH116 - an empty path is not the current folder
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise OSError(errno.EINVAL, f"it is {kind}; pass the path of one image")
    if status.st_size > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, _too_large(f"{status.st_size} bytes", MAX_FILE_BYTES))
    with Path(path).open("rb") as file:
        return file.read(status.st_size)


def _decode(data: bytes, pad_color: tuple[int, int, int]) -> Pixels:
    """Decode an image file's bytes to upright BGR, uint8 (H, W, 3)."""
    if len(data) > MAX_FILE_BYTES:
        raise InputError(_too_large(f"{len(data)} bytes", MAX_FILE_BYTES))
    header = read_header(data)
    _check_pixel_count(*header.size)
    encoded = np.frombuffer(header.encoded, np.uint8)
    try:
        decoded = cv2.imdecode(encoded, _decode_flags(header.format))
    except cv2.error as exc:
        raise InputError(_undecodable(header.format)) from exc
    if decoded is None:
        raise InputError(_undecodable(header.format))
    return _upright(_three_channels(decoded, pad_color), header.orientation)


def _decode_flags(name: str) -> int:
    # Unchanged keeps alpha and depth and leaves the orientation to us. Of a BMP it would deliver
    # the unused fourth byte, mostly 0, as alpha.
    flags = {"BMP": cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION}
    return flags.get(name, cv2.IMREAD_UNCHANGED)


def _undecodable(name: str) -> str:
    since = {"GIF": " (its wheels can since 4.12)", "animated WebP": " (it can since 4.11)"}
    return (
        f"{name} data is damaged, or of a kind that OpenCV {cv2.__version__} does not decode"
        f"{since.get(name, '')}; open it with another program and save it as PNG"
    )


def _check_pixel_count(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise InputError(_too_large(f"{height}x{width} pixels", MAX_PIXELS) + "; scale it down")


def _too_large(given: str, limit: int) -> str:
    return f"the image has {given}, more than the limit of {limit}"


def _three_channels(pixels: NDArray[Any], pad_color: tuple[int, int, int]) -> Pixels:
    """Bring uint8 or uint16 pixels with 1, 3 or 4 channels to uint8 (H, W, 3)."""
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)  # 65535 becomes 255
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), np.uint8)
    return _blend(pixels, pad_color) if channels == 4 else pixels


def _blend(pixels: Pixels, pad_color: tuple[int, int, int]) -> Pixels:
    """Lay pixels (H, W, 4) over a color in their own channel order; within 1 of exact."""
    *channels, opacity = cv2.split(pixels)
    transparency = cv2.bitwise_not(opacity)
    blended = [
        cv2.add(
            cv2.multiply(channel, opacity, scale=1 / 255),
            cv2.convertScaleAbs(transparency, alpha=pad / 255),
        )
        for channel, pad in zip(channels, pad_color, strict=True)
    ]
    return np.asarray(cv2.merge(blended), np.uint8)


_TURNS: dict[int, Callable[[Pixels], Any]] = {  # Any: OpenCV's stubs lose the dtype
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: lambda pixels: cv2.transpose(pixels),
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.flip(cv2.transpose(pixels), -1),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn or mirror pixels as an EXIF orientation, 1-8, says; other numbers change nothing."""
    turn = _TURNS.get(orientation)
    return pixels if turn is None else np.asarray(turn(pixels), np.uint8)


def _pixels_from_array(array: NDArray[Any]) -> Pixels:
    """Check an array and bring it to contiguous uint8 (H, W, 3) in its own channel order."""
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    if array.dtype.kind != "u" or array.dtype.itemsize > 2 or not is_image or array.size == 0:
        raise InputError(
            f"image array has dtype {array.dtype} and shape {array.shape}; accepted: uint8 (or "
            f"uint16) of shape (H, W, 3), (H, W, 1) or (H, W), not empty. {_array_advice(array)}"
        )
    return _three_channels(np.ascontiguousarray(_native(array)), (0, 0, 0))


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in this machine's byte order, itself where it already is."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _array_advice(array: NDArray[Any]) -> str:
    """Say how the caller brings a refused array to what is accepted."""
    by_kind = {
        "f": "Scale values to 0-255 and pass values.round().clip(0, 255).astype(np.uint8)",
        "b": "Pass array.astype(np.uint8) * 255",
        "i": "Pass array.astype(np.uint8) if its values are 0-255",
        "u": "Pass array.astype(np.uint8) if its values are 0-255",
    }
    if array.size == 0 or array.dtype.kind not in by_kind:
        return "Check what produced it"
    if array.dtype not in (np.uint8, np.uint16):
        return by_kind[array.dtype.kind]
    if array.ndim == 3 and array.shape[0] in (1, 3):
        return "It looks channels-first: pass array.transpose(1, 2, 0)"
    by_dimensions = {
        1: "If it holds an encoded image, pass array.tobytes()",
        3: "Pass array[..., :3], blended with a background if the fourth channel is alpha",
    }
    return by_dimensions.get(array.ndim, "Pass one image at a time")


def _is_pillow(source: object) -> TypeGuard[PillowImage]:
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(source, pillow.Image)


def _pixels_from_pillow(image: PillowImage, pad_color: tuple[int, int, int]) -> Pixels:
    """Bring a PIL image to upright RGB, uint8 (H, W, 3)."""
    width, height = image.size
    _check_pixel_count(height, width)
    mode = _pillow_mode(image)
    try:
        image.load()
        orientation = image.getexif().get(0x0112, 1)
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    except (OSError, ValueError, SyntaxError) as exc:  # what Pillow raises for damaged files
        raise InputError(f"PIL image of mode {image.mode!r} cannot be read: {exc}") from exc
    if pixels.ndim < 2 or pixels.size == 0:
        raise InputError(f"PIL image has size {image.size}; an image needs 1x1 or more")
    return _upright(_three_channels(_native(pixels), pad_color[::-1]), orientation)


def _pillow_mode(image: PillowImage) -> str:
    """The mode to read a PIL image in: one that keeps its alpha or its 16 bits."""
    if image.mode in ("I", "F"):
        raise InputError(
            f"PIL image has mode {image.mode!r}, whose values have no fixed range; scale them to "
            "0-255 and pass a uint8 array, or to 0-65535 and pass a uint16 array"
        )
    if image.mode.startswith("I;16"):
        return image.mode
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return "RGBA"
    return "L" if image.mode in ("1", "L") else "RGB"
