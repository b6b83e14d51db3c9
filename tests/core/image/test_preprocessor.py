import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevit import InputSpec
from edgevit.core.image.preprocessor import Preprocessor, geometry_of, letterbox, shorter_side_crop
from edgevit.errors import InputError

MEAN, STD = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
sides = st.integers(1, 3000)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def preprocessed(image, spec, **arguments):
    out = np.full((3, *spec.size), np.nan, np.float32)
    geometry = Preprocessor(spec, **arguments)(image, out)
    return out, geometry


def gray_levels(batch):
    """Undo the normalization: float (3, H, W) in 0-255, RGB."""
    return 255 * (batch * STD[:, None, None] + MEAN[:, None, None])


def test_a_full_hd_frame_is_scaled_to_256_and_cropped_as_torchvision_does():
    window = shorter_side_crop((1080, 1920), (224, 224), 0.875)
    assert (window.resized, window.top, window.left) == ((256, 455), 16, 116)


def test_a_crop_offset_ending_in_a_half_rounds_to_even_as_torchvision_does():
    assert shorter_side_crop((100, 101), (10, 10), 1.0).left == 0
    assert shorter_side_crop((10, 13), (10, 10), 1.0).left == 2


@given(height=sides, width=sides, size=st.integers(1, 400), crop=st.floats(0.3, 1))
def test_a_crop_lies_inside_its_resized_image(height, width, size, crop):
    window = shorter_side_crop((height, width), (size, size), crop)
    assert min(window.resized) == int(size / crop)
    assert 0 <= window.top <= window.resized[0] - size
    assert 0 <= window.left <= window.resized[1] - size


@given(height=sides, width=sides, rows=st.integers(1, 300), columns=st.integers(1, 300))
def test_a_crop_that_is_not_square_lies_inside_too(height, width, rows, columns):
    window = shorter_side_crop((height, width), (rows, columns), 0.9)
    assert 0 <= window.top <= window.resized[0] - rows
    assert 0 <= window.left <= window.resized[1] - columns


@given(height=sides, width=sides, rows=st.integers(1, 300), columns=st.integers(1, 300))
def test_a_letterbox_touches_its_frame_and_never_leaves_it(height, width, rows, columns):
    resized = letterbox((height, width), (rows, columns)).resized
    assert 1 <= resized[0] <= rows
    assert 1 <= resized[1] <= columns
    assert resized[0] == rows or resized[1] == columns


@given(height=sides, width=sides)
def test_the_geometry_of_a_crop_is_centered_in_the_image(height, width):
    window = shorter_side_crop((height, width), (224, 224), 0.875)
    geometry = geometry_of((height, width), window, (224, 224))
    x0, y0, x1, y1 = geometry.source_box
    pixel = max(geometry.scale)
    assert (x0 + x1) / 2 == pytest.approx(width / 2, abs=pixel)
    assert (y0 + y1) / 2 == pytest.approx(height / 2, abs=pixel)


@pytest.mark.parametrize(
    "size", [(300, 400), (64, 64), (37, 1000), (1, 1), (1, 90), (90, 1)], ids=str
)
@pytest.mark.parametrize("resize", ["shorter", "stretch"])
def test_exact_equals_pillow_then_crop_then_normalize(size, resize):
    image_module = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    spec = InputSpec((64, 64), resize=resize, crop_pct=0.875 if resize == "shorter" else 1.0)
    picture = image_module.fromarray(noise(*size, 3))
    batch, _ = preprocessed(picture, spec)
    resized, top, left = (64, 64), 0, 0
    if resize == "shorter":
        window = shorter_side_crop(size, (64, 64), 0.875)
        resized, top, left = window.resized, window.top, window.left
    expected = np.asarray(picture.resize(resized[::-1], image_module.Resampling.BICUBIC))
    expected = expected[top : top + 64, left : left + 64].transpose(2, 0, 1)
    assert np.abs(gray_levels(batch) - expected).max() < 1.01


def test_bgr_and_rgb_arrays_of_one_picture_make_the_same_batch():
    image, spec = noise(50, 70, 3), InputSpec((32, 32))
    bgr, _ = preprocessed(image, spec)
    rgb, _ = preprocessed(np.ascontiguousarray(image[..., ::-1]), spec, color="rgb")
    assert np.array_equal(bgr, rgb)


def test_a_network_trained_on_bgr_gets_bgr():
    image = noise(32, 32, 3)
    spec = InputSpec((32, 32), mean=(0, 0, 0), std=(1, 1, 1), crop_pct=1.0, color_order="bgr")
    batch, _ = preprocessed(image, spec)
    assert np.array_equal(np.rint(batch * 255).astype(np.uint8), image.transpose(2, 0, 1))


def test_letterbox_pads_with_the_normalized_pad_value():
    spec = InputSpec((20, 20), resize="letterbox", crop_pct=1.0, pad_value=114)
    batch, geometry = preprocessed(noise(10, 40, 3), spec)
    assert geometry.input_box == (0, 0, 20, 5)
    assert gray_levels(batch)[:, 5:] == pytest.approx(114, abs=1e-3)
    assert np.isfinite(batch).all()


def test_fast_is_close_to_exact():
    image = cv2.resize(noise(40, 60, 3), (1200, 800), interpolation=cv2.INTER_CUBIC)
    spec = InputSpec((96, 96))
    exact, _ = preprocessed(image, spec, mode="exact")
    fast, _ = preprocessed(image, spec, mode="fast")
    assert np.abs(gray_levels(exact) - gray_levels(fast)).mean() < 4


def test_a_reused_place_holds_nothing_of_the_image_before():
    spec = InputSpec((20, 20), resize="letterbox", crop_pct=1.0)
    preprocessor, out = Preprocessor(spec), np.empty((3, 20, 20), np.float32)
    preprocessor(np.full((20, 20, 3), 255, np.uint8), out)
    preprocessor(noise(10, 40, 3), out)
    assert np.array_equal(out, preprocessed(noise(10, 40, 3), spec)[0])


def test_every_hostile_picture_is_answered_or_refused(bad_inputs):
    import csv

    preprocessor, out = Preprocessor(InputSpec((32, 32))), np.empty((3, 32, 32), np.float32)
    lines = (bad_inputs / "EXPECTED.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(lines))
    pictures = [row for row in rows if row["file"].startswith("images/")]
    assert len(pictures) > 30
    for row in pictures:
        allowed = {row["expect"]}
        if row["expect"] == "document" or row["file"].endswith(".gif"):
            allowed = {"accept", "reject"}  # OpenCV decodes GIF from 4.12 on
        assert outcome(preprocessor, bad_inputs / row["file"], out) in allowed, row


def outcome(preprocessor, path, out):
    try:
        preprocessor(path, out)
    except InputError:
        return "reject"
    return "accept" if np.isfinite(out).all() else "broken"
