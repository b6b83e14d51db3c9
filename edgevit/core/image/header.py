"""What an encoded image says about itself, read without decoding a pixel.

The readers follow the formats' own standards: ITU T.81 (JPEG), the PNG specification, RFC 9649
(WebP), GIF89a, BITMAPINFOHEADER (BMP) and Exif 2.32. They look only at the bytes they are given,
in time that grows with the number of parts before the pixels and never with what a size field
claims, and refuse data that is cut short: some decoders fill what is missing with gray. A JPEG
without its end-of-image marker counts as cut, a PNG with a wrong checksum before its pixels, or in
them, as damaged.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from struct import unpack_from

from edgevit.errors import InputError

# Beyond these, a file is made to keep a reader busy. Real ones stay far below: a PNG of 1 GB in
# the usual 8 KB chunks has 2**17, a progressive JPEG has about ten scans.
MAX_PARTS = 2**17
MAX_SCANS = 64


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The facts that decide whether and how an image is decoded.

    Args:
        format: "JPEG", "PNG", "WebP", "animated WebP", "GIF" or "BMP".
        size: (height, width) in pixels, as stored.
        orientation: EXIF orientation, 1 (upright) to 8; values the standard leaves undefined are 1.
        encoded: what a decoder needs: the file, or of a PNG only the chunks that make its pixels.
    """

    format: str
    size: tuple[int, int]
    orientation: int
    encoded: bytes = field(repr=False)


def read_header(data: bytes) -> ImageHeader:
    """Read format, size and orientation of an encoded image, and check that its end is there.

    Args:
        data: a whole JPEG, PNG, WebP, GIF or BMP file.

    Raises:
        InputError: if the format is another one, or the data is damaged or cut short.

    Example:
        >>> read_header(b"BM" + bytes(8) + struct.pack("<IIHHHH", 26, 12, 2, 1, 1, 24) + bytes(8))
        ImageHeader(format='BMP', size=(1, 2), orientation=1)
    """
    name = _name_of_format(data, _SIGNATURES)
    if name is None:
        raise InputError(_unknown_format(data))
    try:
        header = _READERS[name](data)
    except struct.error as exc:
        raise _cut_short(name, data, "inside its header") from exc
    if 0 in header.size:
        height, width = header.size
        raise InputError(f"{name} says its size is {height}x{width}; an image needs 1x1 or more")
    return header


def exif_orientation(block: bytes) -> int:
    """Read the orientation from an EXIF block.

    Args:
        block: the TIFF structure that EXIF is; anything else is taken for "no orientation".

    Returns:
        1 to 8. A damaged block or an undefined value is 1: it does not spoil the pixels.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return 1
    try:
        (directory,) = unpack_from(order + "I", block, 4)
        (count,) = unpack_from(order + "H", block, directory)
        for entry in range(count):
            tag, kind, _, value = unpack_from(order + "HHIH", block, directory + 2 + 12 * entry)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except (struct.error, OverflowError):  # 32-bit Python overflows on offsets beyond 2 GB
        return 1
    return 1


def _name_of_format(data: bytes, signatures: dict[str, re.Pattern[bytes]]) -> str | None:
    return next((name for name, pattern in signatures.items() if pattern.match(data)), None)


def _unknown_format(data: bytes) -> str:
    accepted = "accepted: JPEG, PNG, WebP, GIF, BMP"
    if not data:
        return f"the image is empty (0 bytes); {accepted}"
    foreign = _name_of_format(data, _FOREIGN)
    if foreign is None:
        return f"not an image in a known format (starts with {data[:8]!r}); {accepted}"
    return f"{foreign} is not read from files or bytes; {accepted}. {_ADVICE[foreign]}"


def _cut_short(name: str, data: bytes, where: str) -> InputError:
    return InputError(
        f"{name} data is cut short {where} ({len(data)} bytes given); fetch or write it again"
    )


# JPEG: markers that are followed by a length; RSTn, TEM and a second SOI have none. A marker may
# be preceded by fill bytes and, in careless files, by stray ones.
_JPEG_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_EOI, _SOS, _APP1 = 0xD9, 0xDA, 0xE1


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of every segment's body up to the first scan's header."""
    position = 2
    for _ in range(MAX_PARTS):
        found = _JPEG_MARKER.search(data, position)
        if found is None or found[1][0] == _EOI:
            raise _cut_short("JPEG", data, "before its pixels")
        start = found.end()
        (length,) = unpack_from(">H", data, start)
        position = start + length
        yield found[1][0], start + 2, position
        if found[1][0] == _SOS:
            return
    raise InputError(f"JPEG has more than {MAX_PARTS} segments before its pixels")


def _read_jpeg(data: bytes) -> ImageHeader:
    frame, height, width, components, exif = 0, 0, 0, 0, b""
    start = end = 0
    for marker, start, end in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            frame = marker
            height, width, components = unpack_from(">HHB", data, start + 1)
        elif marker == _APP1 and not exif and data.startswith(b"Exif\0\0", start):
            exif = data[start + 6 : end]
    # Only behind the first scan's header: a thumbnail in the Exif block has a marker of its own.
    if data.rfind(b"\xff\xd9", end) < 0:
        raise _cut_short("JPEG", data, "inside its pixels (no end-of-image marker)")
    # A decoder passes over the whole image once for each scan, however little the scan holds.
    if frame in _JPEG_PROGRESSIVE or data[start] < components:
        scans = 1 + data.count(b"\xff\xda", end, data.find(b"\xff\xd9", end))
        if scans > MAX_SCANS:
            raise InputError(f"JPEG has {scans} scans; accepted: up to {MAX_SCANS}")
    return ImageHeader("JPEG", (height, width), exif_orientation(exif), data)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of every chunk's body; checksums of critical ones are verified."""
    view = memoryview(data)
    position = 8
    for _ in range(MAX_PARTS):
        length, kind = unpack_from(">I4s", data, position)
        start, end = position + 8, position + 8 + length
        if end + 4 > len(data):
            raise _cut_short("PNG", data, f"inside a chunk {kind!r}")
        (checksum,) = unpack_from(">I", data, end)
        if kind[:1].isupper() and zlib.crc32(view[start - 4 : end]) != checksum:
            raise InputError(f"PNG is damaged: wrong checksum in a chunk {kind!r}")
        yield kind, start, end
        if kind == b"IEND":
            return
        position = end + 4
    raise InputError(f"PNG has more than {MAX_PARTS} chunks")


def _read_png(data: bytes) -> ImageHeader:
    first, width, height = unpack_from(">4sII", data, 12)
    if first != b"IHDR":
        raise InputError(f"PNG is damaged: its first chunk is {first!r}")
    # Other chunks stay out: OpenCV 5.0 with libpng dies of damaged animation chunks, libpng writes
    # warnings about color profiles to stderr, and none of them is heeded.
    view, exif = memoryview(data), b""
    parts = [view[:8]]
    for kind, start, end in _png_chunks(data):
        if kind[:1].isupper() or kind == b"tRNS":
            parts.append(view[start - 8 : end + 4])
        elif kind == b"eXIf":
            exif = data[start:end]
    return ImageHeader("PNG", (height, width), exif_orientation(exif), b"".join(parts))


def _vp8_size(data: bytes) -> tuple[int, int]:
    width, height = unpack_from("<HH", data, 26)
    return height & 0x3FFF, width & 0x3FFF


def _vp8l_size(data: bytes) -> tuple[int, int]:
    (bits,) = unpack_from("<I", data, 21)
    return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1


def _vp8x_size(data: bytes) -> tuple[int, int]:
    width, height = (int.from_bytes(side, "little") for side in unpack_from("3s3s", data, 24))
    return height + 1, width + 1


_WEBP_SIZES = {b"VP8 ": _vp8_size, b"VP8L": _vp8l_size, b"VP8X": _vp8x_size}


def _read_webp(data: bytes) -> ImageHeader:
    length, _, kind, flags = unpack_from("<I4s4s4xB", data, 4)
    if length + 8 > len(data):
        raise _cut_short("WebP", data, f"of the {length + 8} it announces")
    if kind not in _WEBP_SIZES:
        raise InputError(f"WebP is damaged: its first chunk is {kind!r}")
    is_extended = kind == b"VP8X"
    name = "animated WebP" if is_extended and flags & 0x02 else "WebP"
    exif = _webp_exif(data) if is_extended and flags & 0x08 else b""
    return ImageHeader(name, _WEBP_SIZES[kind](data), exif_orientation(exif), data)


def _webp_exif(data: bytes) -> bytes:
    position = 12
    for _ in range(MAX_PARTS):
        if position + 8 > len(data):
            break
        kind, length = unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return data[position + 8 : position + 8 + length].removeprefix(b"Exif\0\0")
        position += 8 + length + length % 2
    return b""


def _read_gif(data: bytes) -> ImageHeader:
    width, height = unpack_from("<HH", data, 6)
    return ImageHeader("GIF", (height, width), 1, data)


def _read_bmp(data: bytes) -> ImageHeader:
    offset, header_bytes = unpack_from("<II", data, 10)
    if header_bytes == 12:
        width, height, _, bits = unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = unpack_from("<iiHHI", data, 18)
    width, height = abs(width), abs(height)  # a negative height stores the rows from the top
    row_bytes = (width * bits + 31) // 32 * 4
    if compression in (0, 3) and offset + row_bytes * height > len(data):
        raise _cut_short("BMP", data, "inside its pixels")
    return ImageHeader("BMP", (height, width), 1, data)


_READERS: dict[str, Callable[[bytes], ImageHeader]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "WebP": _read_webp,
    "GIF": _read_gif,
    "BMP": _read_bmp,
}
_SIGNATURES = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM"),
}
_FOREIGN = {
    "TIFF": re.compile(rb"II\*\0|MM\0\*"),
    "HEIF or AVIF": re.compile(rb"....ftyp(?:hei|hev|mif|msf|avi)", re.DOTALL),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "a NumPy file": re.compile(rb"\x93NUMPY"),
}
_CONVERT = "Convert it, or open it with Pillow and pass the PIL image."
_ADVICE = dict.fromkeys(_FOREIGN, _CONVERT) | {
    "a NumPy file": "Open it with numpy.load and pass the array."
}
