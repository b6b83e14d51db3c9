import numpy as np
import pytest

from edgevit import Classification, Detections, Segmentation, draw
from edgevit.core.tasks.rle import RLE
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
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)], ids=["gray", "float"]
)
def test_what_is_no_color_image_is_refused(image):
    with pytest.raises(InputError, match=r"draw takes uint8 \(H, W, 3\)"):
        draw(image, classification("cat"))


def detections(*boxes, masks=None):
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(count, 0.5, np.float32),
        np.arange(count),
        ("cat", "größe", "a class of a very long name")[:count],
        {},
        masks,
    )


def changed_pixels(drawn, image):
    return (drawn != image).any(axis=2)


GRAY = np.full((120, 160, 3), 100, np.uint8)


def test_no_detections_give_an_equal_copy():
    assert np.array_equal(draw(GRAY, detections()), GRAY)


def test_a_box_is_drawn_at_its_border_and_its_inside_is_kept():
    changed = changed_pixels(draw(GRAY, detections([40, 50, 80, 90])), GRAY)
    assert changed[50, 41:80].all()
    assert changed[89, 41:80].all()
    assert changed[50:90, 40].all()
    assert not changed[55:85, 45:75].any()


def test_a_label_stands_on_its_box():
    changed = changed_pixels(draw(GRAY, detections([40, 50, 80, 90])), GRAY)
    assert changed[40:48, 42].all()
    assert not changed[:30].any()


@pytest.mark.parametrize(
    "box",
    [[0, 0, 160, 120], [150, 110, 160, 120], [0, 0, 0.2, 0.2], [159.9, 119.9, 160, 120]],
    ids=["whole image", "lower right", "upper left", "last pixel"],
)
@pytest.mark.parametrize("size", [(120, 160), (3, 5)], ids=str)
def test_every_box_can_be_drawn(box, size):
    image = np.full((*size, 3), 100, np.uint8)
    assert draw(image, detections(box, box, box)).shape == image.shape


@pytest.mark.parametrize("form", [np.array, lambda masks: tuple(map(RLE.from_mask, masks))])
def test_a_mask_tints_its_pixels(form):
    masks = np.zeros((1, 120, 160), bool)
    masks[0, 60:80, 50:70] = True
    changed = changed_pixels(draw(GRAY, detections([40, 50, 80, 90], masks=form(masks))), GRAY)
    assert changed[60:80, 50:70].all()
    assert not changed[55:60, 45:75].any()


def segmentation(class_map):
    names = ("road", "sky", "tree")
    return Segmentation(class_map, names, np.array([[250] * 3, [0] * 3, [9] * 3], np.uint8), {})


def test_a_class_map_tints_what_was_seen():
    class_map = np.zeros((120, 160), np.uint8)
    class_map[:, 40:80] = 1
    class_map[:, 80:] = 255
    drawn = draw(GRAY, segmentation(class_map))
    assert drawn[0, [0, 50, 100], 0].tolist() == [175, 50, 100]


def test_the_legend_names_what_is_there():
    drawn = draw(GRAY, segmentation(np.zeros((120, 160), np.uint8)))
    changed = changed_pixels(drawn, np.full_like(GRAY, 175))
    assert np.flatnonzero(changed.any(axis=1))[0] == 120 - 12


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (segmentation(np.zeros((3, 4), np.uint16)), r"class map is of size \(3, 4\)"),
        (detections([0, 0, 2, 2], masks=np.zeros((1, 3, 4), bool)), r"mask is of size \(3, 4\)"),
    ],
    ids=["class map", "mask"],
)
def test_results_of_another_image_are_refused(result, message):
    with pytest.raises(InputError, match=message):
        draw(GRAY, result)
