"""The images that a graph is recorded and compared with, and how far two answers are apart."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.preprocessor import Preprocessor
from edgevit.core.model.spec import InputSpec
from edgevit.core.model.test_vector import Samples

Values = NDArray[Any]  # of whatever dtype an output has


def test_image() -> NDArray[np.uint8]:
    """Make the test vector's image: waves and noise, every gray level, edges in both directions.

    Returns:
        uint8 (40, 56, 3), BGR.
    """
    generator = np.random.default_rng(20240803)
    rows, columns = np.mgrid[0:40, 0:56]
    waves = [np.sin(rows / (3 + c) + c) + np.cos(columns / (5 - c) - c) for c in range(3)]
    noise = generator.normal(0, 0.3, (40, 56, 3))
    return np.clip(127.5 + 55 * (np.stack(waves, axis=-1) + noise), 0, 255).astype(np.uint8)


def preprocessed(image: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """The batch of an image uint8 (H, W, 3), BGR: float32 (1, 3, height, width), mode `exact`."""
    batch = np.empty((1, 3, *spec.size), np.float32)
    Preprocessor(spec, mode="exact")(image, batch[0])
    return batch


def noise_like(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normally distributed noise, the same every time, of a batch's shape."""
    return np.random.default_rng(0).standard_normal(batch.shape, np.float32)


def range_batches(
    batch: NDArray[np.float32], spec: InputSpec, images: Iterable[NDArray[np.uint8]] = ()
) -> list[NDArray[np.float32]]:
    """Batches on which a graph's largest values show.

    Flat images and wide stripes are among them: where a network multiplies activations with each
    other, as CAS-ViT does, what is rare in photographs and the same everywhere grows most.

    Args:
        batch: float32 (1, 3, height, width), that of the test vector.
        spec: how images become batches.
        images: uint8 (H, W, 3), BGR: further images.
    """
    every = [*extreme_images(spec.size), *images]
    return [batch, noise_like(batch), *(preprocessed(image, spec) for image in every)]


def extreme_images(size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Black, white, green, and black and white stripes in both directions: uint8 (H, W, 3)."""
    rows, columns = (np.arange(side) * 4 // side % 2 * 255 for side in size)
    rows, columns = np.broadcast_arrays(rows[:, None], columns[None])
    flat = [np.full((*size, 3), color, np.uint8) for color in (0, 255, (0, 255, 0))]
    stripes = [np.stack([values] * 3, axis=2).astype(np.uint8) for values in (rows, columns)]
    return flat + stripes


def relative_difference(before: Values, after: Values) -> float:
    """How far an output moved, as `Samples.relative_error` counts it, over all its values."""
    return Samples.of(before, limit=max(1, before.size)).relative_error(after)
