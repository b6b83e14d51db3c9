"""Normalization, and resampling with normalization into a batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edgevit.core.image.normalize import Normalization, normalize_into
from edgevit.core.image.resample import resample, resample_plan, resample_planes
from edgevit.errors import InputError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BGR_TO_RGB = Normalization.from_mean_std(MEAN, STD, swap_channels=True)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def preprocess_into(image, plan, normalization, out) -> None:
    """What the preprocessor does."""
    normalize_into(resample_planes(image, plan), normalization, out)


def expected(image: np.ndarray) -> np.ndarray:
    """The definition, in double precision: RGB planes of (value / 255 - mean) / std."""
    return ((image[..., ::-1] / 255.0 - MEAN) / STD).transpose(2, 0, 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (224, 224), (300, 701)])
def test_planes_are_swapped_scaled_and_shifted(size) -> None:
    image, out = picture(*size), np.empty((3, *size), np.float32)
    normalize_into(list(image.transpose(2, 0, 1)), BGR_TO_RGB, out)
    np.testing.assert_allclose(out, expected(image), atol=1e-6)


def test_channels_keep_their_order_unless_swapped() -> None:
    image, out = picture(8, 9), np.empty((3, 8, 9), np.float32)
    as_they_are = Normalization.from_mean_std((0, 0, 0), (1, 1, 1))
    preprocess_into(image, resample_plan((8, 9), (8, 9)), as_they_are, out)
    np.testing.assert_allclose(out, image.transpose(2, 0, 1) / 255.0, atol=1e-6)


@pytest.mark.parametrize("resized", [(40, 60), (64, 96), (17, 23)], ids=["copy", "up", "down"])
def test_preprocessing_is_resampling_then_normalizing(resized) -> None:
    image = picture(40, 60)
    plan = resample_plan((40, 60), resized, window=(1, 2, 15, 20))
    out = np.empty((3, 15, 20), np.float32)
    preprocess_into(image, plan, BGR_TO_RGB, out)
    np.testing.assert_allclose(out, expected(resample(image, plan)), atol=1e-6)


def test_a_window_of_the_batch_is_written_and_nothing_else() -> None:
    image, batch = picture(30, 30), np.full((2, 3, 20, 24), 7, np.float32)
    plan = resample_plan((30, 30), (12, 16))
    preprocess_into(image, plan, BGR_TO_RGB, batch[1, :, 5:17, 3:19])
    np.testing.assert_allclose(batch[1, :, 5:17, 3:19], expected(resample(image, plan)), atol=1e-6)
    batch[1, :, 5:17, 3:19] = 7
    assert (batch == 7).all()


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_threads_write_their_own_images(mode) -> None:
    images = [picture(150, 210, seed) for seed in range(4)]
    plan = resample_plan((150, 210), (32, 45), mode=mode)
    batch = np.empty((64, 3, 32, 45), np.float32)
    with ThreadPoolExecutor(4) as pool:
        tasks = [
            pool.submit(preprocess_into, images[i % 4], plan, BGR_TO_RGB, batch[i])
            for i in range(64)
        ]
    assert all(task.result() is None for task in tasks)
    alone = [expected(resample(image, plan)) for image in images]
    np.testing.assert_allclose(batch, alone * 16, atol=1e-6)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((3, 4, 6), np.float32), r"shape \(3, 4, 5\)"),
        (np.empty((3, 4, 5), np.float64), "not float64"),
    ],
    ids=["wrong shape", "wrong dtype"],
)
def test_an_out_that_does_not_fit_is_an_input_error(out, message) -> None:
    with pytest.raises(InputError, match=message):
        preprocess_into(picture(8, 10), resample_plan((8, 10), (4, 5)), BGR_TO_RGB, out)


def test_a_zero_standard_deviation_is_an_input_error() -> None:
    with pytest.raises(InputError, match="divide by zero"):
        Normalization.from_mean_std(MEAN, (0.2, 0, 0.2))
