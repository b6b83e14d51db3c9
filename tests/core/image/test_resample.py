"""The resampling against Pillow's, when Pillow is installed, and against its own definition."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import DATA

from edgevit.core.image import resample as module
from edgevit.core.image.resample import Mode, resample, resample_plan, resample_planes
from edgevit.errors import InputError

GOLDEN = DATA / "resample_golden.npz"
INTERPOLATIONS = ("bicubic", "bilinear", "lanczos", "box")
MODES: tuple[Mode, ...] = ("exact", "fast")


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A photograph-like image: lit gradients, saturated shapes with sharp edges, and grain."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    image = np.stack([90 + 80 * np.sin(x / 37 + c) + 60 * np.cos(y / 23 - c) for c in range(3)], -1)
    for _ in range(40):
        centre = int(random.integers(width)), int(random.integers(height))
        color = [float(v) for v in random.choice([-20, 0, 128, 255, 280], 3)]
        cv2.circle(image, centre, int(random.integers(2, 3 + height // 6)), color, -1)
    image += random.normal(0, 6, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def noise(height: int, width: int) -> np.ndarray:
    """Black, white and anything between: the hardest input for a kernel that overshoots."""
    values = np.random.default_rng(height * 101 + width).normal(128, 160, (height, width, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


def pillow(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Pillow's resize, one axis at a time in the order of Pillow 13, whichever is installed."""
    pil = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    kernel = pil.Resampling[interpolation.upper()]
    height, width = image.shape[:2]
    is_rows_first = height - size[0] > max(0, 2 * (width - size[1]))
    middle = (width, size[0]) if is_rows_first else (size[1], height)
    return np.asarray(pil.fromarray(image).resize(middle, kernel).resize(size[::-1], kernel))


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


SIZES = [
    pytest.param((1, 1), (1, 1), id="one pixel"),
    pytest.param((1, 1), (9, 5), id="one pixel up"),
    pytest.param((1, 5000), (1, 3), id="a line down"),
    pytest.param((5000, 1), (3, 1), id="a column down"),
    pytest.param((1, 40), (64, 3), id="up and down"),
    pytest.param((33, 57), (33, 57), id="no change"),
    pytest.param((33, 57), (33, 20), id="only across"),
    pytest.param((33, 57), (70, 57), id="only down"),
    pytest.param((64, 64), (32, 32), id="half"),
    pytest.param((375, 500), (256, 341), id="ImageNet"),
    pytest.param((224, 224), (256, 256), id="up a little"),
    pytest.param((540, 960), (127, 227), id="down by 4.2"),
]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("source", "size"), SIZES)
def test_exact_equals_pillow_within_one(source, size, interpolation) -> None:
    for image in (scene(*source), noise(*source)):
        result = resample(image, resample_plan(source, size, interpolation=interpolation))
        assert difference(result, pillow(image, size, interpolation)) <= 1


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_exact_equals_the_golden_arrays_of_pillow(interpolation) -> None:
    golden = np.load(GOLDEN)
    image = golden["image"]
    for size in ((13, 19), (61, 40)):
        result = resample(image, resample_plan(image.shape[:2], size, interpolation=interpolation))
        assert difference(result, golden[f"{interpolation}_{size[0]}x{size[1]}"]) <= 1


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_photographs_equal_pillow_within_one_and_nearly_everywhere(photos, interpolation) -> None:
    samples = photos.parent / "imagenet_samples" / "images"
    pictures = sorted([*photos.glob("*.jpg"), *samples.glob("n01*.JPEG")])
    assert pictures
    for picture in pictures:
        image = cv2.imread(str(picture))
        for size in ((256, 341), (97, 64)):
            plan = resample_plan(image.shape[:2], size, interpolation=interpolation)
            result, expected = resample(image, plan), pillow(image, size, interpolation)
            assert difference(result, expected) <= 1
            assert (result != expected).mean() < 0.001


def test_sums_that_end_in_a_half_are_rounded_as_pillow_rounds_them(photos) -> None:
    image = cv2.imread(str(photos / "cat.jpg"))[:400, :480]
    size = image.shape[0] * 4 // 5, image.shape[1] * 4 // 5
    plan = resample_plan(image.shape[:2], size, interpolation="bilinear")
    assert difference(resample(image, plan), pillow(image, size, "bilinear")) <= 1


def test_fast_is_close_to_exact_on_photographs(photos) -> None:
    for picture in sorted(photos.glob("*.jpg")):
        image = cv2.imread(str(picture))
        size = image.shape[0] // 5, image.shape[1] // 5
        exact, fast = (
            resample(image, resample_plan(image.shape[:2], size, mode=mode)) for mode in MODES
        )
        area = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        error, opencv_error = (np.abs(exact.astype(float) - other).mean() for other in (fast, area))
        assert error < 3 * opencv_error


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", [(100, 140), (95, 130), (51, 71), (150, 210), (33, 50), (7, 333)])
def test_fast_is_close_to_exact_at_every_scale(size, interpolation) -> None:
    image = cv2.GaussianBlur(scene(100, 140), (0, 0), 2.5)
    exact, fast = (
        resample(image, resample_plan((100, 140), size, interpolation=interpolation, mode=mode))
        for mode in MODES
    )
    assert np.abs(exact.astype(float) - fast).mean() < 2.5


def test_axes_of_very_different_scales_are_exact_in_both_modes() -> None:
    image = scene(100, 140)
    exact, fast = (resample(image, resample_plan((100, 140), (20, 100), mode=m)) for m in MODES)
    assert (exact == fast).all()


@pytest.mark.parametrize("axis", [0, 1], ids=["down", "across"])
@settings(max_examples=100, derandomize=True)
@given(st.integers(300, 2200), st.integers(100, 400), st.data())
def test_fast_keeps_positions(axis, source, resized, data) -> None:
    """A ramp says where each pixel of the result comes from."""
    ramp = np.linspace(0, 255, source).round().astype(np.uint8)
    image = np.empty((source, source, 3), np.uint8)
    image[:] = ramp[:, None, None] if axis == 0 else ramp[None, :, None]
    low = data.draw(st.integers(0, resized - 8))
    window = (low, low, data.draw(st.integers(8, resized - low)), 8)
    exact, fast = (
        resample(image, resample_plan((source,) * 2, (resized,) * 2, window=window, mode=mode))
        for mode in MODES
    )
    # Besides rounding, twice: shifts of up to a sixteenth of a pixel; at the far edge, where a
    # part of a block is dropped, of half a pixel.
    step = 255 / resized
    assert difference(exact[:-1, :-1], fast[:-1, :-1]) <= 2 + step / 8
    assert difference(exact, fast) <= 2 + step


sides = st.integers(1, 70)


@st.composite
def windows(draw) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    resized = draw(sides), draw(sides)
    top, left = draw(st.integers(0, resized[0] - 1)), draw(st.integers(0, resized[1] - 1))
    height = draw(st.integers(1, resized[0] - top))
    return resized, (top, left, height, draw(st.integers(1, resized[1] - left)))


@settings(max_examples=150, derandomize=True)
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.sampled_from(INTERPOLATIONS))
def test_any_size_equals_pillow_within_one(source, size, interpolation) -> None:
    image = noise(*source)
    result = resample(image, resample_plan(source, size, interpolation=interpolation))
    assert difference(result, pillow(image, size, interpolation)) <= 1


@settings(max_examples=150, derandomize=True)
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.sampled_from(INTERPOLATIONS))
def test_the_order_of_the_passes_is_that_of_pillow_13(source, size, interpolation) -> None:
    pil = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    if int(pil.__version__.split(".")[0]) < 13:
        pytest.skip("Pillow began to choose the order of its passes in version 13")
    image = noise(*source)
    result = resample(image, resample_plan(source, size, interpolation=interpolation))
    kernel = pil.Resampling[interpolation.upper()]
    assert difference(result, np.asarray(pil.fromarray(image).resize(size[::-1], kernel))) <= 1


@settings(max_examples=150, derandomize=True)
@given(st.tuples(sides, sides), windows(), st.sampled_from(INTERPOLATIONS))
def test_a_window_is_a_crop_of_the_whole(source, cut, interpolation) -> None:
    resized, (top, left, height, width) = cut
    image = noise(*source)
    whole = resample(image, resample_plan(source, resized, interpolation=interpolation))
    plan = resample_plan(source, resized, window=cut[1], interpolation=interpolation)
    assert difference(resample(image, plan), whole[top : top + height, left : left + width]) <= 1


@settings(max_examples=150, derandomize=True)
@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    windows(),
    st.sampled_from(INTERPOLATIONS),
    st.sampled_from(MODES),
    st.integers(0, 255),
)
def test_a_constant_stays_constant(source, cut, interpolation, mode, value) -> None:
    plan = resample_plan(source, cut[0], window=cut[1], interpolation=interpolation, mode=mode)
    result = resample(np.full((*source, 3), value, np.uint8), plan)
    assert result.shape == (*cut[1][2:], 3)
    assert (result == value).all()


@settings(max_examples=50, derandomize=True)
@given(st.tuples(sides, sides), st.sampled_from(INTERPOLATIONS), st.sampled_from(MODES))
def test_a_resize_to_the_same_size_is_the_image(size, interpolation, mode) -> None:
    image = noise(*size)
    result = resample(image, resample_plan(size, size, interpolation=interpolation, mode=mode))
    assert (result == image).all()
    assert not np.shares_memory(result, image)


@settings(max_examples=50, derandomize=True)
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.sampled_from(INTERPOLATIONS))
def test_the_axes_are_resampled_one_after_the_other(source, size, interpolation) -> None:
    image = noise(*source)
    both = resample_plan(source, size, interpolation=interpolation)
    middle = (size[0], source[1]) if both.method.rows_first else (source[0], size[1])
    first = resample(image, resample_plan(source, middle, interpolation=interpolation))
    second = resample(first, resample_plan(middle, size, interpolation=interpolation))
    assert (resample(image, both) == second).all()


LAYOUTS = {
    "slice": lambda image: np.pad(image, ((3, 4), (5, 6), (0, 0)))[3:-4, 5:-6],
    "rows reversed": lambda image: np.ascontiguousarray(image[::-1])[::-1],
    "columns reversed": lambda image: np.ascontiguousarray(image[:, ::-1])[:, ::-1],
    "channels reversed": lambda image: np.ascontiguousarray(image[..., ::-1])[..., ::-1],
    "every second": lambda image: np.repeat(np.repeat(image, 2, 0), 2, 1)[::2, ::2],
    "planar": lambda image: np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0),
    "transposed": lambda image: np.asfortranarray(image),
    "read-only": lambda image: np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(20, 31), (96, 130), (70, 90), (96, 40), (20, 130)])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_memory_layout_does_not_matter(layout, size, mode) -> None:
    image = scene(96, 130)
    plan = resample_plan((96, 130), size, window=(2, 3, 10, 20), mode=mode)
    assert (resample(layout(image), plan) == resample(image, plan)).all()
    for plane, channel in zip(resample_planes(layout(image), plan), range(3), strict=True):
        assert (plane == resample(image, plan)[..., channel]).all()


def test_threads_share_a_plan_and_agree() -> None:
    images = [scene(200, 300, seed) for seed in range(4)]
    plan = resample_plan((200, 300), (64, 96))
    alone = [resample(image, plan) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: resample(images[i % 4], plan), range(80)))
    assert all((result == alone[i % 4]).all() for i, result in enumerate(together))


def test_equal_geometries_share_one_plan() -> None:
    assert resample_plan((40, 50), (8, 9)) is resample_plan((40, 50), (8, 9), window=(0, 0, 8, 9))


def test_plans_and_buffers_are_bounded() -> None:
    image = scene(40, 50)
    for side in range(1, 60):
        resample(image, resample_plan((40, 50), (side, side)))
    assert module._plan.cache_info().currsize <= 32
    assert len(module._thread.workspaces) <= 4


BAD_ARGUMENTS = {
    "source size": (((0, 5), (4, 4), {}), r"source_size \(0, 5\) is not a positive"),
    "resized size": (((5, 5), (4, -1), {}), r"resized_size \(4, -1\) is not a positive"),
    "window": (((5, 5), (4, 4), {"window": (1, 0, 4, 4)}), r"window .* inside \(4, 4\)"),
    "empty window": (((5, 5), (4, 4), {"window": (1, 0, 0, 4)}), "window"),
    "name": (((5, 5), (4, 4), {"interpolation": "bicubik"}), "did you mean 'bicubic'"),
    "mode": (((5, 5), (4, 4), {"mode": "slow"}), "'exact', 'fast'"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_a_wrong_plan_is_an_input_error(arguments, message) -> None:
    source, resized, options = arguments
    with pytest.raises(InputError, match=message):
        resample_plan(source, resized, **options)


@pytest.mark.parametrize("shape", [(4, 5, 3), (5, 4), (5, 4, 4)])
def test_an_image_that_is_not_the_plan_s_is_an_input_error(shape) -> None:
    with pytest.raises(InputError, match=r"of shape \(5, 4, 3\)"):
        resample(np.zeros(shape, np.uint8), resample_plan((5, 4), (2, 2)))
    with pytest.raises(InputError, match="not float32"):
        resample_planes(np.zeros((5, 4, 3), np.float32), resample_plan((5, 4), (2, 2)))
