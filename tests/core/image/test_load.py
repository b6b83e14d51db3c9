"""What may be given as an image, and the pixels that come of it."""

from __future__ import annotations

import csv
import io
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from paths import DATA
from PIL import Image, ImageOps

from edgevit.core.image import load as image_module
from edgevit.core.image.load import load_image
from edgevit.errors import InputError

IMAGES = DATA / "images"
SHARED = Path(os.environ.get("EDGEVIT_TEST_DATA", os.devnull))
FIXTURES = sorted(path.name for path in IMAGES.iterdir() if path.suffix not in (".py", ".tif", ""))
PAD = (30, 90, 200)
GRAY_KEY = "gray_key.png"  # OpenCV does not read the transparent level of a gray PNG
# How far OpenCV's arithmetic is from Pillow's, in levels: CMYK is divided by 256, not by 255; and
# blending rounds twice.
OFF_BY_ONE = re.compile("cmyk|ycck|alpha|rgba|transparent")


def decodes(name: str) -> bool:
    encoded = np.frombuffer((IMAGES / name).read_bytes(), np.uint8)
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR) is not None


has_gif = pytest.mark.skipif(not decodes("still.gif"), reason="this OpenCV decodes no GIF")
has_animated_webp = pytest.mark.skipif(
    not decodes("animated.webp"), reason="this OpenCV decodes no animated WebP"
)
has_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="EDGEVIT_TEST_DATA names no folder")


MARKS = {"animated.webp": has_animated_webp} | {
    name: has_gif for name in FIXTURES if name.endswith(".gif")
}


def pillow_bgr(path: Path, pad: tuple[int, int, int] = PAD) -> NDArray[np.int64]:
    """The image as Pillow decodes, turns, blends and scales it, in BGR."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I;16"):
        return np.repeat((np.asarray(image, np.int64)[..., None] + 128) // 257, 3, axis=-1)
    if image.mode in ("RGBA", "LA") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, pad[::-1])
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"), np.int64)[..., ::-1]


def largest_difference(pixels: NDArray[np.uint8], expected: NDArray[np.int64]) -> int:
    assert pixels.shape == expected.shape
    return int(np.abs(pixels - expected).max())


def scene() -> NDArray[np.uint8]:
    """What every fixture shows, (24, 40, 3) BGR."""
    with Image.open(IMAGES / "plain.png") as opened:
        return np.asarray(opened.convert("RGB"))[..., ::-1]


# Files and bytes


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=MARKS.get(name, ())) for name in FIXTURES if name != GRAY_KEY],
)
def test_file_decodes_as_pillow_decodes_it(name: str) -> None:
    loaded = load_image(IMAGES / name, pad_color=PAD)

    assert loaded.color == "bgr"
    assert loaded.pixels.dtype == np.uint8
    assert loaded.pixels.flags.c_contiguous
    tolerance = 1 if OFF_BY_ONE.search(name) else 0
    assert largest_difference(loaded.pixels, pillow_bgr(IMAGES / name)) <= tolerance


@pytest.mark.parametrize("orientation", range(10))
def test_orientation_is_undone_once(orientation: int) -> None:
    upright = load_image(IMAGES / "exif_1.jpg").pixels.astype(int)
    turned = load_image(IMAGES / f"exif_{orientation}.jpg").pixels

    assert turned.shape == (24, 40, 3)
    assert np.abs(turned - upright).max() <= 3


@pytest.mark.parametrize("name", ["rgb16.png", "rgb16_exif_8.png"])
def test_16_bit_color_is_scaled_to_8(name: str) -> None:
    np.testing.assert_array_equal(load_image(IMAGES / name).pixels, scene())


def test_16_bit_values_are_divided_by_257_and_rounded() -> None:
    every = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    expected = (np.arange(2**16) + 128) // 257

    np.testing.assert_array_equal(load_image(every).pixels[..., 1].ravel(), expected)


def test_transparent_parts_show_the_pad_color() -> None:
    pixels = load_image(IMAGES / "rgba.png", pad_color=PAD).pixels

    np.testing.assert_array_equal(pixels[:, 0], np.tile(PAD, (24, 1)))
    np.testing.assert_array_equal(pixels[:, -1], scene()[:, -1])


def test_unused_byte_of_a_bmp_is_not_taken_for_alpha() -> None:
    np.testing.assert_array_equal(load_image(IMAGES / "unused_byte.bmp").pixels, scene())


def test_transparent_level_of_a_gray_png_is_shown_as_it_is() -> None:
    keyed, plain = (load_image(IMAGES / name).pixels for name in (GRAY_KEY, "gray.png"))

    np.testing.assert_array_equal(keyed, plain)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_decode_as_their_file(kind: type[bytes]) -> None:
    data = (IMAGES / "plain.jpg").read_bytes()

    from_bytes = load_image(kind(data)).pixels

    np.testing.assert_array_equal(from_bytes, load_image(IMAGES / "plain.jpg").pixels)


@pytest.mark.parametrize("name", ["no_extension", "jpeg.png", "é中 .jpg"])
def test_name_says_nothing_about_format(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes((IMAGES / "plain.jpg").read_bytes())

    assert load_image(str(tmp_path / name)).pixels.shape == (24, 40, 3)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image '.*none\.jpg' cannot be read: No such file"):
        load_image(tmp_path / "none.jpg")


def test_folder_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is a directory; pass the path of one image"):
        load_image(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")

    with pytest.raises(InputError, match="not a regular file"):
        load_image(tmp_path / "pipe.jpg")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read every file"
)
def test_file_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "private.jpg").touch(mode=0)

    with pytest.raises(InputError, match=r"private\.jpg' cannot be read: Permission denied"):
        load_image(tmp_path / "private.jpg")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("https://example.com/cat.jpg", "is a URL, not a path; fetch it"),
        ("data:image/png;base64,iVBORw0KGgo=", "is a URL"),
        ("null\0character.jpg", "cannot be read: .*null"),
        ("x" * 5000, r"xxx\.\.\.' cannot be read"),
    ],
    ids=["URL", "data URL", "null", "long"],
)
def test_string_that_is_no_path_is_refused(path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_image(path)


def test_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("these are words")

    with pytest.raises(InputError, match=r"notes\.jpg': not an image in a known format"):
        load_image(tmp_path / "notes.jpg")


def test_sound_header_before_damaged_pixels_is_refused() -> None:
    data = (IMAGES / "plain.png").read_bytes()
    body = b"IDAT" + b"not what zlib writes"
    broken = data[:33] + struct.pack(">I", len(body) - 4) + body + crc(body) + data[-12:]

    with pytest.raises(InputError, match="PNG data is damaged, or of a kind that OpenCV"):
        load_image(broken)


def test_opencv_s_own_error_becomes_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise cv2.error("out of memory")

    monkeypatch.setattr(cv2, "imdecode", fail)

    with pytest.raises(InputError, match="JPEG data is damaged, or of a kind"):
        load_image(IMAGES / "plain.jpg")


def test_format_that_this_opencv_lacks_is_refused_with_the_version_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: None)

    with pytest.raises(InputError, match=r"GIF .* OpenCV .* since 4\.12.*save it as PNG"):
        load_image(IMAGES / "still.gif")


# Limits


def crc(chunk: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(chunk))


def png_bomb() -> bytes:
    data = bytearray((IMAGES / "bilevel.png").read_bytes())
    data[16:24] = struct.pack(">II", 30000, 30000)
    data[29:33] = crc(bytes(data[12:29]))
    return bytes(data)


def jpeg_bomb() -> bytes:
    size, huge = struct.pack(">HH", 24, 40), struct.pack(">HH", 65500, 65500)
    return (IMAGES / "plain.jpg").read_bytes().replace(size, huge, 1)


@pytest.mark.parametrize("bomb", [png_bomb(), jpeg_bomb()], ids=["PNG", "JPEG"])
def test_image_of_too_many_pixels_is_refused(bomb: bytes) -> None:
    with pytest.raises(InputError, match=r"pixels, more than the limit of 134217728; scale it"):
        load_image(bomb)


PEAK_OF_REFUSAL = """
import resource, sys
from edgevit.errors import InputError
from edgevit.core.image.load import load_image
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_image(data)
except InputError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes only on Linux")
@pytest.mark.parametrize("bomb", [png_bomb(), jpeg_bomb()], ids=["PNG", "JPEG"])
def test_refusing_a_bomb_takes_no_memory(bomb: bytes) -> None:
    command = [sys.executable, "-c", PEAK_OF_REFUSAL]
    finished = subprocess.run(command, input=bomb, capture_output=True, check=True)

    assert int(finished.stdout) < 20_000
    assert finished.stderr == b""


def test_file_larger_than_the_limit_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "sparse.bmp").open("wb") as file:
        file.truncate(image_module.MAX_FILE_BYTES + 1)
    monkeypatch.setattr(Path, "open", None)

    with pytest.raises(InputError, match="536870913 bytes, more than the limit of 536870912"):
        load_image(tmp_path / "sparse.bmp")


def test_bytes_beyond_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_module, "MAX_FILE_BYTES", 1000)

    with pytest.raises(InputError, match="1506 bytes, more than the limit of 1000"):
        load_image((IMAGES / "plain.jpg").read_bytes())


# Arrays


def test_contiguous_array_is_returned_itself_in_the_order_it_was_said_to_have() -> None:
    array = np.zeros((4, 6, 3), np.uint8)
    loaded = load_image(array, color="rgb")

    assert loaded.pixels is array
    assert loaded.color == "rgb"
    assert load_image(array).color == "bgr"


def test_view_is_made_contiguous() -> None:
    array = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    pixels = load_image(array[::2, ::-1, ::-1]).pixels

    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, array[::2, ::-1, ::-1])


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2"])
def test_gray_array_becomes_three_equal_channels(shape: tuple[int, ...], dtype: str) -> None:
    scale = {"u1": 1, "u2": 257}[dtype[-2:]]
    gray = (np.arange(24) * scale).reshape(shape).astype(dtype)
    pixels = load_image(gray).pixels

    np.testing.assert_array_equal(pixels, np.arange(24).reshape(4, 6, 1).repeat(3, axis=2))


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_16_bit_array_is_scaled_in_either_byte_order(dtype: str) -> None:
    wide = (scene().astype(int) * 257).astype(dtype)

    np.testing.assert_array_equal(load_image(wide).pixels, scene())


@pytest.mark.parametrize(
    ("array", "message"),
    [
        pytest.param(np.zeros((0, 6, 3), np.uint8), r"shape \(0, 6, 3\).*not empty", id="empty"),
        pytest.param(np.zeros((4, 6, 3), np.float32), r"0-255.*astype\(np\.uint8\)", id="float"),
        pytest.param(np.full((4, 6, 3), np.nan), "dtype float64", id="nan"),
        pytest.param(np.zeros((4, 6, 3), np.int64), r"int64.*array\.astype", id="int64"),
        pytest.param(np.zeros((4, 6, 3), np.uint32), r"uint32.*array\.astype", id="uint32"),
        pytest.param(np.zeros((4, 6, 3), np.bool_), r"bool.*np\.uint8\) \* 255", id="bool"),
        pytest.param(np.zeros((4, 6, 3), np.complex64), "complex64.*Check what", id="complex"),
        pytest.param(np.array(["a"]), "dtype <U1.*Check what", id="text"),
        pytest.param(np.array([None]), "dtype object.*Check what", id="object"),
        pytest.param(np.ones((), np.uint8), r"shape \(\)", id="scalar"),
        pytest.param(np.zeros(9, np.uint8), r"shape \(9,\).*array\.tobytes", id="encoded"),
        pytest.param(np.zeros((4, 6, 4), np.uint8), r"array\[\.\.\., :3\].*alpha", id="alpha"),
        pytest.param(np.zeros((4, 6, 2), np.uint8), r"shape \(4, 6, 2\)", id="two channels"),
        pytest.param(np.zeros((3, 4, 6), np.uint8), r"transpose\(1, 2, 0\)", id="channels first"),
        pytest.param(np.zeros((1, 4, 6, 3), np.uint8), "Pass one image at a time", id="batch"),
    ],
)
def test_other_arrays_are_refused_with_what_to_do(array: NDArray[np.generic], message: str) -> None:
    with pytest.raises(InputError, match=f"^image array has .*{message}") as caught:
        load_image(array)
    assert "accepted: uint8 (or uint16) of shape (H, W, 3)" in str(caught.value)


def test_unknown_channel_order_is_refused() -> None:
    with pytest.raises(InputError, match=r"color 'RGB' is not.*accepted: 'bgr', 'rgb'"):
        load_image(np.zeros((4, 6, 3), np.uint8), color="RGB")  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [None, 3, [[0, 1]], io.BytesIO()])
def test_other_sources_are_refused_with_what_is_accepted(source: object) -> None:
    with pytest.raises(InputError, match="accepted: a path, encoded bytes, a PIL image, or a Num"):
        load_image(source)  # type: ignore[arg-type]


# PIL images


@pytest.mark.parametrize("name", [name for name in FIXTURES if name not in ("animated.png",)])
def test_pil_image_gives_what_pillow_shows(name: str) -> None:
    with Image.open(IMAGES / name) as opened:
        loaded = load_image(opened, pad_color=PAD)

    assert loaded.color == "rgb"
    assert largest_difference(loaded.pixels[..., ::-1], pillow_bgr(IMAGES / name)) <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_pil_modes_become_rgb(mode: str) -> None:
    image = Image.fromarray(scene()[..., ::-1].copy()).convert(mode)

    np.testing.assert_array_equal(load_image(image).pixels, np.asarray(image.convert("RGB")))


def test_pil_premultiplied_alpha_is_blended() -> None:
    with Image.open(IMAGES / "rgba.png") as opened:
        premultiplied = opened.convert("RGBa")

    pixels = load_image(premultiplied, pad_color=PAD).pixels[..., ::-1]

    np.testing.assert_array_equal(pixels[:, 0], np.tile(PAD, (24, 1)))
    np.testing.assert_array_equal(pixels[:, -1], scene()[:, -1])


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_pil_16_bit_gray_is_scaled(mode: str) -> None:
    gray = scene()[..., 0]
    order = ">u2" if mode == "I;16B" else "<u2"
    data = (gray.astype(int) * 257).astype(order).tobytes()
    image = Image.frombytes(mode, (40, 24), data)

    np.testing.assert_array_equal(load_image(image).pixels, gray[..., None].repeat(3, axis=2))


def test_pil_transposed_image_is_not_turned_again() -> None:
    with Image.open(IMAGES / "exif_6.jpg") as opened:
        upright = ImageOps.exif_transpose(opened)

    np.testing.assert_array_equal(load_image(upright).pixels, np.asarray(upright))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        pytest.param(Image.new("RGB", (0, 0)), r"size \(0, 0\); an image needs 1x1", id="empty"),
        pytest.param(Image.new("I", (4, 4)), "mode 'I', whose values have no fixed", id="I"),
        pytest.param(Image.new("F", (4, 4)), "mode 'F', whose values have no fixed", id="F"),
        pytest.param(Image.new("La", (4, 4)), "mode 'La' cannot be read: ", id="La"),
    ],
)
def test_other_pil_images_are_refused(image: Image.Image, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_image(image)


def test_pil_image_of_too_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_module, "MAX_PIXELS", 15)

    with pytest.raises(InputError, match="4x4 pixels, more than the limit of 15"):
        load_image(Image.new("L", (4, 4)))


def test_pil_image_of_a_cut_file_is_refused() -> None:
    data = (IMAGES / "plain.jpg").read_bytes()

    with (
        Image.open(io.BytesIO(data[:-100])) as opened,
        pytest.raises(InputError, match=r"mode 'RGB' cannot be read: .*truncated"),
    ):
        load_image(opened)


# Hostile data


def load_small(data: bytes) -> NDArray[np.uint8]:
    """Load with a limit that keeps a mutated size from costing the time of 100 megapixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_module, "MAX_PIXELS", 2**16)
        return load_image(data).pixels


@pytest.mark.parametrize("name", FIXTURES)
@settings(max_examples=25)
@given(share=st.floats(0, 1, exclude_max=True))
def test_cut_file_is_refused(name: str, share: float) -> None:
    data = (IMAGES / name).read_bytes()

    with pytest.raises(InputError):
        load_small(data[: int(len(data) * share)])


@pytest.mark.parametrize("name", FIXTURES)
@settings(max_examples=25)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1)
)
def test_damaged_file_gives_an_image_or_an_input_error(
    name: str, changes: list[tuple[float, int]]
) -> None:
    data = bytearray((IMAGES / name).read_bytes())
    for share, bits in changes:
        data[int(len(data) * share)] ^= bits

    try:
        pixels = load_small(bytes(data))
    except InputError:
        return
    assert pixels.shape[2] == 3
    assert pixels.dtype == np.uint8
    assert pixels.size <= 3 * 2**16


# Real and made files beside a full checkout


def shared_rows(folder: str) -> list[object]:
    table = SHARED / "bad_inputs" / "EXPECTED.csv"
    if not table.is_file():
        return [pytest.param(None, None, marks=has_shared)]
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["file"].startswith(folder)]
    # Left open by the table: what this module does with them.
    decided = {"images/bad_crc.png": "reject", "arrays/grey_2d.npy": "accept"}
    expectations = [
        (row["file"], decided.get(row["file"], row["expect"].replace("document", "reject")))
        for row in rows
    ]
    return [
        pytest.param(name, expected, id=name, marks=has_gif if name.endswith(".gif") else ())
        for name, expected in expectations
    ]


@pytest.mark.parametrize(("name", "expected"), shared_rows("images/"))
def test_shared_files_are_accepted_or_refused_as_listed(name: str, expected: str) -> None:
    path = SHARED / "bad_inputs" / name
    outcome = {"accept": accepts, "reject": refuses}[expected]

    outcome(path)


def accepts(path: Path) -> None:
    assert largest_difference(load_image(path, pad_color=PAD).pixels, pillow_bgr(path)) <= 1


def refuses(source: object) -> None:
    with pytest.raises(InputError):
        load_image(source)  # type: ignore[arg-type]


UNLOADABLE = {"arrays/huge_shape.npy", "arrays/object_pickle.npy", "arrays/truncated.npy"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [row for row in shared_rows("arrays/") if row.values[0] not in UNLOADABLE],  # type: ignore[attr-defined]
)
def test_shared_arrays_are_accepted_or_refused_as_listed(name: str, expected: str) -> None:
    array = np.load(SHARED / "bad_inputs" / name)
    outcome = {"accept": load_image, "reject": refuses}[expected]

    outcome(array)
    refuses(SHARED / "bad_inputs" / name)


@has_shared
@pytest.mark.parametrize("name", sorted(UNLOADABLE))
def test_array_files_are_not_opened(name: str) -> None:
    with pytest.raises(InputError, match=r"a NumPy file is not read.*numpy\.load"):
        load_image(SHARED / "bad_inputs" / name)


@has_shared
@pytest.mark.parametrize("orientation", range(1, 9))
def test_shared_orientations_show_the_same_scene(orientation: int) -> None:
    folder = SHARED / "bad_inputs" / "images"
    upright, turned = (
        load_image(folder / f"exif_{value}.jpg").pixels for value in (1, orientation)
    )

    assert largest_difference(turned, upright.astype(np.int64)) <= 30
    assert np.abs(turned.astype(int) - upright).mean() < 2


def photos() -> list[Path]:
    return sorted(SHARED.glob("images/*.jpg")) + sorted(SHARED.glob("imagenet_samples/images/*"))


@has_shared
def test_photos_decode_as_pillow_decodes_them() -> None:
    differences = [
        largest_difference(load_image(path).pixels, pillow_bgr(path)) for path in photos()
    ]

    # Two builds of one JPEG library, which may round the inverse transform differently.
    assert len(differences) > 100
    assert max(differences) <= 2
