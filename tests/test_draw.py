import numpy as np
import pytest

from edgevit import Classification, draw
from edgevit.errors import InputError


def classification(*names):
    count = len(names)
    return Classification(np.arange(count), names, np.full(count, 0.5, np.float32), {})


def test_drawing_nothing_gives_an_equal_copy():
    image = np.full((90, 120, 3), 200, np.uint8)
    drawn = draw(image, classification())
    assert np.array_equal(drawn, image)
    assert drawn is not image


def test_classes_are_drawn_in_the_lower_left_and_the_image_is_kept():
    image = np.full((180, 240, 3), 200, np.uint8)
    drawn = draw(image, classification("cat", "dog"))
    changed = np.argwhere((drawn != image).any(axis=2))
    assert changed[:, 0].min() > 100
    assert changed[:, 1].min() == 0
    assert (image == 200).all()


@pytest.mark.parametrize("size", [(1, 1), (5, 400), (400, 5), (2000, 3000)], ids=str)
def test_every_size_can_be_drawn_on(size):
    drawn = draw(np.zeros((*size, 3), np.uint8), classification(*"abcdefgh"))
    assert drawn.shape == (*size, 3)


def test_names_outside_ascii_are_drawn_too():
    drawn = draw(np.zeros((90, 120, 3), np.uint8), classification("größe 中"))
    assert drawn.any()


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)], ids=["grey", "float"]
)
def test_what_is_no_colour_image_is_refused(image):
    with pytest.raises(InputError, match=r"draw takes uint8 \(H, W, 3\)"):
        draw(image, classification("cat"))
