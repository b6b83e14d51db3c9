"""Write the encoded images beside this file: `python make_images.py` (needs Pillow and NumPy).

Every file shows `scene()` in the encoding its name says, so a test can state what it must decode
to. Pillow encodes; what Pillow cannot write (16-bit color, YCCK, eXIf by hand) is made here from
the formats' own rules.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

HEIGHT, WIDTH = 24, 40
HERE = Path(__file__).parent
# What must be done to a stored image to show it upright, undone: how each orientation is stored.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def scene() -> NDArray[np.uint8]:
    """Smooth, asymmetric color image: uint8 (24, 40, 3), RGB."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [columns * 6 + 5, rows * 10 + 3, 128 + 100 * np.sin((rows + 2 * columns) / 17)]
    return np.stack(planes, axis=-1).round().astype(np.uint8)


def alpha() -> NDArray[np.uint8]:
    """Transparency from 0 at the left to 255 at the right: uint8 (24, 40)."""
    return np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Bytes of `image` in a Pillow format."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif(orientation: int, order: str = "<") -> bytes:
    """A TIFF block with one entry, the orientation; `order` is the struct byte order."""
    mark = {"<": b"II", ">": b"MM"}[order]
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "HIH", 42, 8, 1) + entry + bytes(4)


def chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png16(pixels: NDArray[np.uint8], color_type: int) -> bytes:
    """A 16-bit PNG of `pixels` (H, W, C), each value spread to 16 bits by v * 257."""
    height, width = pixels.shape[:2]
    wide = (pixels.astype(np.uint16) * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def with_exif_chunk(png: bytes, orientation: int) -> bytes:
    """Insert an eXIf chunk after the IHDR of a PNG."""
    return png[:33] + chunk(b"eXIf", exif(orientation, ">")) + png[33:]


def stored(image: Image.Image, orientation: int) -> Image.Image:
    """The image as a camera writes it when it notes `orientation`."""
    method = STORED_AS.get(orientation)
    return image if method is None else image.transpose(method)


def interlaced(image: Image.Image) -> bytes:
    """An Adam7 PNG: seven passes of unfiltered rows, RGB."""
    pixels = np.asarray(image)
    starts_steps = [
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]  # fmt: skip
    passes = [pixels[r::down, c::across] for r, c, down, across in starts_steps]
    rows = b"".join(b"\0" + row.tobytes() for part in passes for row in part if row.size)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bmp32(image: Image.Image) -> bytes:
    """A 32-bit BMP whose fourth byte is the unused 0, as Windows programs write it."""
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    pixels[..., :3] = np.asarray(image)[::-1, :, ::-1]
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 32, 0, pixels.nbytes, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + pixels.nbytes, 0, 0, 54) + info + pixels.tobytes()


def jpegs(rgb: Image.Image) -> dict[str, bytes]:
    """The JPEG files."""
    # Quality 100 without chroma subsampling keeps the loss within a few levels.
    best = {"quality": 100, "subsampling": 0}
    plain = encoded(rgb, "JPEG", **best)
    cmyk = encoded(rgb.convert("CMYK"), "JPEG", quality=100)
    adobe = cmyk.index(b"\xff\xee")
    files = {
        "plain.jpg": plain,
        "subsampled.jpg": encoded(rgb, "JPEG", quality=90),
        "progressive.jpg": encoded(rgb, "JPEG", progressive=True, **best),
        "gray.jpg": encoded(rgb.convert("L"), "JPEG", quality=100),
        "cmyk.jpg": cmyk,
        "cmyk_no_marker.jpg": cmyk[:adobe] + cmyk[adobe + 16 :],
        "ycck.jpg": cmyk[: adobe + 15] + b"\2" + cmyk[adobe + 16 :],
    }
    for orientation in (*STORED_AS, 0, 9):
        block = b"Exif\0\0" + exif(orientation, "<>"[orientation % 2])
        files[f"exif_{orientation}.jpg"] = encoded(
            stored(rgb, orientation), "JPEG", exif=block, **best
        )
    return files


def pngs(rgb: Image.Image, rgba: Image.Image) -> dict[str, bytes]:
    """The PNG files."""
    gray = rgb.convert("L")
    palette = rgb.quantize(32)
    keyed = PngImagePlugin.PngInfo()
    color, opacity = np.asarray(rgb), alpha()[..., None]
    return {
        "plain.png": encoded(rgb, "PNG", pnginfo=keyed),
        "interlaced.png": interlaced(rgb),
        "gray.png": encoded(gray, "PNG"),
        "bilevel.png": encoded(gray.convert("1"), "PNG"),
        "palette.png": encoded(palette, "PNG"),
        "palette_transparent.png": encoded(palette, "PNG", transparency=bytes(range(0, 256, 8))),
        "palette_key.png": encoded(palette, "PNG", transparency=3),
        "rgb_key.png": encoded(rgb, "PNG", transparency=tuple(color[4, 7].tolist())),
        "gray_key.png": encoded(gray, "PNG", transparency=int(np.asarray(gray)[4, 7])),
        "rgba.png": encoded(rgba, "PNG"),
        "gray_alpha.png": encoded(rgba.convert("LA"), "PNG"),
        "rgba_exif_6.png": with_exif_chunk(encoded(stored(rgba, 6), "PNG"), 6),
        "gray16.png": png16(np.asarray(gray)[..., None], 0),
        "rgb16.png": png16(color, 2),
        "rgba16.png": png16(np.concatenate([color, opacity], axis=-1), 6),
        "rgb16_exif_8.png": with_exif_chunk(png16(np.asarray(stored(rgb, 8)), 2), 8),
        "animated.png": encoded(
            rgb, "PNG", save_all=True, append_images=[rgb.transpose(Image.Transpose.ROTATE_180)]
        ),
    }


def others(rgb: Image.Image, rgba: Image.Image) -> dict[str, bytes]:
    """The WebP, GIF, BMP and TIFF files."""
    later = [rgb.transpose(Image.Transpose.ROTATE_180)]
    key = rgb.quantize(32)
    return {
        "lossy.webp": encoded(rgb, "WEBP", quality=95),
        "lossy_alpha.webp": encoded(rgba, "WEBP", quality=95),
        "lossless.webp": encoded(rgb, "WEBP", lossless=True),
        "lossless_alpha.webp": encoded(rgba, "WEBP", lossless=True, exact=True),
        "lossless_exif_5.webp": encoded(stored(rgb, 5), "WEBP", lossless=True, exif=exif(5)),
        "animated.webp": encoded(rgb, "WEBP", lossless=True, save_all=True, append_images=later),
        "still.gif": encoded(rgb.quantize(64), "GIF"),
        "animated.gif": encoded(rgb, "GIF", save_all=True, append_images=later),
        "transparent.gif": encoded(key, "GIF", transparency=3),
        "plain.bmp": encoded(rgb, "BMP"),
        "unused_byte.bmp": bmp32(rgb),
        "palette.bmp": encoded(rgb.quantize(32), "BMP"),
        "plain.tif": encoded(rgb, "TIFF"),
    }


def main() -> None:
    """Write every file."""
    rgb = Image.fromarray(scene())
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(alpha()))
    makers: list[Callable[[], dict[str, bytes]]] = [
        lambda: jpegs(rgb),
        lambda: pngs(rgb, rgba),
        lambda: others(rgb, rgba),
    ]
    for maker in makers:
        for name, data in maker().items():
            (HERE / name).write_bytes(data)


if __name__ == "__main__":
    main()
