"""What the header of an encoded image says, and what of it is refused."""

from __future__ import annotations

import re
import struct
import zlib

import pytest
from paths import DATA

from edgevit.core.image import header as image_header
from edgevit.core.image.header import exif_orientation, read_header
from edgevit.errors import InputError

IMAGES = DATA / "images"
UPRIGHT = (24, 40)


def fixture(name: str) -> bytes:
    return (IMAGES / name).read_bytes()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain.jpg", ("JPEG", UPRIGHT, 1)),
        ("progressive.jpg", ("JPEG", UPRIGHT, 1)),
        ("ycck.jpg", ("JPEG", UPRIGHT, 1)),
        ("exif_6.jpg", ("JPEG", (40, 24), 6)),
        ("plain.png", ("PNG", UPRIGHT, 1)),
        ("rgb16_exif_8.png", ("PNG", (40, 24), 8)),
        ("lossy.webp", ("WebP", UPRIGHT, 1)),
        ("lossless.webp", ("WebP", UPRIGHT, 1)),
        ("lossy_alpha.webp", ("WebP", UPRIGHT, 1)),
        ("lossless_exif_5.webp", ("WebP", (40, 24), 5)),
        ("animated.webp", ("animated WebP", UPRIGHT, 1)),
        ("still.gif", ("GIF", UPRIGHT, 1)),
        ("plain.bmp", ("BMP", UPRIGHT, 1)),
    ],
)
def test_header_tells_format_stored_size_and_orientation(
    name: str, expected: tuple[str, tuple[int, int], int]
) -> None:
    header = read_header(fixture(name))

    assert (header.format, header.size, header.orientation) == expected


@pytest.mark.parametrize(
    ("orientation", "expected"), [(value, value) for value in range(1, 9)] + [(0, 1), (9, 1)]
)
def test_undefined_orientations_are_upright(orientation: int, expected: int) -> None:
    assert read_header(fixture(f"exif_{orientation}.jpg")).orientation == expected


def test_bmp_of_negative_height_and_of_the_oldest_kind_are_read() -> None:
    top_down = bytearray(fixture("plain.bmp"))
    struct.pack_into("<i", top_down, 22, -24)
    core = b"BM" + bytes(8) + struct.pack("<IIHHHH", 26, 12, 2, 1, 1, 24) + bytes(8)

    assert read_header(bytes(top_down)).size == UPRIGHT
    assert read_header(core).size == (1, 2)


def test_jpeg_fill_and_stray_bytes_between_segments_are_skipped() -> None:
    data = fixture("exif_6.jpg")
    careless = data[:2] + b"\xff\xff\xff\0stray\xff\xd0" + data[2:]

    assert read_header(careless).orientation == 6


def test_decoder_gets_only_the_chunks_that_make_a_png_s_pixels() -> None:
    animated = fixture("animated.png")
    header = read_header(animated)

    assert b"acTL" in animated
    assert re.findall(rb"acTL|fcTL|fdAT", header.encoded) == []
    assert header.encoded.startswith(animated[:33])
    assert read_header(header.encoded).encoded == header.encoded


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param((0x0112, 3, 1, 7), 7, id="orientation"),
        pytest.param((0x0112, 2, 1, 7), 1, id="orientation as text"),
        pytest.param((0x010F, 3, 1, 7), 1, id="another tag"),
    ],
)
def test_orientation_is_read_in_both_byte_orders(
    order: str, entry: tuple[int, int, int, int], expected: int
) -> None:
    mark = {"<": b"II", ">": b"MM"}[order]
    block = mark + struct.pack(order + "HIH", 42, 8, 1) + struct.pack(order + "HHIHH", *entry, 0)

    assert exif_orientation(block) == expected


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no TIFF at all", id="text"),
        pytest.param(b"II*\0\x08\0", id="cut"),
        pytest.param(b"II*\0\xff\xff\xff\xff", id="offset beyond the block"),
        pytest.param(b"II*\0\x08\0\0\0\xff\xff" + bytes(24), id="more entries than bytes"),
    ],
)
def test_hostile_exif_means_upright(block: bytes) -> None:
    assert exif_orientation(block) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "is empty .0 bytes.; accepted: JPEG, PNG", id="empty"),
        pytest.param(b"hello world", "starts with b'hello wo'.*accepted: JPEG", id="text"),
        pytest.param(b"II*\0....", "TIFF is not read.*open it with Pillow", id="TIFF"),
        pytest.param(b"\0\0\0\x20ftypheic", "HEIF or AVIF.*open it with Pillow", id="HEIF"),
        pytest.param(b"\x93NUMPY\1\0", "NumPy file.*numpy.load", id="npy"),
        pytest.param(fixture("plain.jpg")[:20], "JPEG data is cut short before", id="JPEG start"),
        pytest.param(fixture("plain.jpg")[:3], "JPEG data is cut short", id="JPEG magic"),
        pytest.param(fixture("plain.jpg")[:-2], "no end-of-image marker", id="JPEG without EOI"),
        pytest.param(b"\xff\xd8\xff\xd9", "cut short before its pixels", id="JPEG of no parts"),
        pytest.param(fixture("plain.png")[:-12], "cut short inside its header", id="PNG no IEND"),
        pytest.param(fixture("plain.png")[:-30], "cut short inside a chunk b'IDAT'", id="PNG IDAT"),
        pytest.param(fixture("plain.png")[:20], "cut short inside its header", id="PNG start"),
        pytest.param(fixture("lossy.webp")[:-1], "cut short of the 288 it announces", id="WebP"),
        pytest.param(fixture("lossy.webp")[:12], "WebP data is cut short", id="WebP start"),
        pytest.param(fixture("still.gif")[:8], "GIF data is cut short inside its header", id="GIF"),
        pytest.param(fixture("plain.bmp")[:-1], "BMP data is cut short inside its pix", id="BMP"),
    ],
)
def test_data_that_is_no_whole_image_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_header(data)


def test_png_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(fixture("plain.png"))
    data[-20] ^= 1

    with pytest.raises(InputError, match="wrong checksum in a chunk b'IDAT'"):
        read_header(bytes(data))


def test_wrong_checksum_in_a_comment_does_no_harm() -> None:
    data = fixture("plain.png")
    comment = bytearray(png_chunk(b"tEXt", b"Title\0a picture"))
    comment[-1] ^= 1

    assert read_header(data[:33] + comment + data[33:]).size == UPRIGHT


def test_png_that_does_not_start_with_its_header_is_refused() -> None:
    data = fixture("plain.png")

    with pytest.raises(InputError, match="first chunk is b'CgBI'"):
        read_header(data[:8] + png_chunk(b"CgBI", bytes(4)) + data[8:])


def test_webp_with_an_unknown_first_chunk_is_refused() -> None:
    with pytest.raises(InputError, match="first chunk is b'VP9 '"):
        read_header(fixture("lossy.webp").replace(b"VP8 ", b"VP9 ", 1))


def test_webp_that_only_announces_exif_is_upright() -> None:
    data = fixture("lossless_exif_5.webp")

    assert read_header(data.replace(b"EXIF", b"XXXX")).orientation == 1


@pytest.mark.parametrize(
    ("name", "offset"), [("plain.jpg", b"\x00\x18\x00\x28"), ("still.gif", b"\x28\x00\x18\x00")]
)
def test_image_of_no_pixels_is_refused(name: str, offset: bytes) -> None:
    with pytest.raises(InputError, match="an image needs 1x1 or more"):
        read_header(fixture(name).replace(offset, bytes(4), 1))


def test_progressive_jpeg_with_very_many_scans_is_refused() -> None:
    data = fixture("progressive.jpg")
    last = data[data.rindex(b"\xff\xda") : -2]

    with pytest.raises(InputError, match="scans; accepted: up to 64"):
        read_header(data[:-2] + last * 64 + data[-2:])


@pytest.mark.parametrize(
    ("start", "part", "message"),
    [
        pytest.param(b"\xff\xd8", b"\xff\xe0\0\2", "JPEG has more than 100 segments", id="JPEG"),
        pytest.param(
            fixture("plain.png")[:33], png_chunk(b"teXt", b""), "more than 100 chunks", id="PNG"
        ),
    ],
)
def test_number_of_parts_is_bounded(
    start: bytes, part: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_header, "MAX_PARTS", 100)

    with pytest.raises(InputError, match=message):
        read_header(start + part * 101)


def test_search_for_exif_in_a_webp_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_header, "MAX_PARTS", 1)

    assert read_header(fixture("lossless_exif_5.webp")).orientation == 1


def test_megabytes_of_bare_markers_are_passed_over_in_one_search() -> None:
    with pytest.raises(InputError, match="cut short before its pixels"):
        read_header(b"\xff\xd8\xff" + b"\xff\xd0" * 2**22)
