import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevit import Geometry, InputSpec, ModelSpec
from edgevit.core.image.preprocessor import geometry_of, window_of
from edgevit.core.model.heads import MapHead
from edgevit.core.tasks import segment
from edgevit.errors import InferenceError

NAMES = ("road", "sky", "tree")
SAME = Geometry((8, 12), (0, 0, 12, 8), (8, 12), (0, 0, 12, 8))


def read(outputs, geometry=SAME, stride=4, names=NAMES):
    (kind,) = outputs
    head = MapHead(kind, stride)
    size = InputSpec(geometry.input_size)
    spec = ModelSpec("tiny", "tiny", "tiny", "segment", size, names, head.to_dict())
    return segment.read(outputs, geometry, spec=spec, head=head, wanted=None)


def geometry_for(source, size, resize, crop_pct=1.0):
    spec = InputSpec(size, resize=resize, crop_pct=crop_pct)
    return geometry_of(source, window_of(source, spec), size)


def plain_logits(logits, geometry, stride):
    """The plain twin: every pixel for itself, in float64.

    Returns:
        float64 (H, W, C), the interpolated logits; NaN where the network did not see the pixel.
    """
    height, width = geometry.source_size
    values = np.full((height, width, len(logits)), np.nan)
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5, row + 0.5
            if not is_seen(geometry, x, y):
                continue
            (u, v) = geometry.points_to_input(np.array([x, y])).astype(np.float64) / stride - 0.5
            left, right, across = neighbors(u, logits.shape[2])
            upper, lower, down = neighbors(v, logits.shape[1])
            above = (1 - across) * logits[:, upper, left] + across * logits[:, upper, right]
            below = (1 - across) * logits[:, lower, left] + across * logits[:, lower, right]
            values[row, column] = (1 - down) * above + down * below
    return values


def plain_classes(classes, geometry, stride):
    """The plain twin: the class of the cell that holds the center of each pixel."""
    height, width = geometry.source_size
    class_map = np.full((height, width), 255)
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5, row + 0.5
            if is_seen(geometry, x, y):
                (u, v) = geometry.points_to_input(np.array([x, y])) / stride
                u, v = min(int(u), classes.shape[1] - 1), min(int(v), classes.shape[0] - 1)
                class_map[row, column] = classes[v, u]
    return class_map


def is_seen(geometry, x, y):
    x0, y0, x1, y1 = geometry.source_box
    return x0 <= x <= x1 and y0 <= y <= y1


def neighbors(position, count):
    """The cells before and after a position, and the share of the second; the map's border goes on.

    Position 0 is the center of the first cell.
    """
    position = min(max(position, 0), count - 1)
    before = int(position)
    return before, min(before + 1, count - 1), position - before


GEOMETRIES = {
    "same size": SAME,
    "larger": geometry_for((57, 91), (32, 32), "letterbox"),
    "much larger": geometry_for((165, 100), (32, 48), "letterbox"),
    "stretched": geometry_for((40, 100), (32, 32), "stretch"),
    "smaller": geometry_for((5, 7), (32, 32), "letterbox"),
    "one pixel": geometry_for((1, 1), (32, 32), "stretch"),
    "odd input": geometry_for((60, 50), (30, 26), "stretch"),
}


def assert_best(class_map, values):
    """Each seen pixel has the class whose value is best, but for the rounding of float32."""
    is_seen = ~np.isnan(values[..., 0])
    assert (class_map[~is_seen] == 255).all()
    won = np.take_along_axis(values[is_seen], class_map[is_seen][:, None].astype(int), 1)[:, 0]
    assert (values[is_seen].max(axis=1, initial=-np.inf) - won < 1e-5).all()  # of logits around 1


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
@pytest.mark.parametrize("classes", [1, 2, 9])
def test_every_pixel_has_the_class_whose_interpolated_logit_is_best(geometry, classes):
    height, width = (-(-side // 4) for side in geometry.input_size)
    logits = np.random.default_rng(classes).normal(0, 1, (1, classes, height, width))
    logits = logits.astype(np.float32)
    found = read({"logits": logits}, geometry, names=tuple("abcdefghi"[:classes]))
    assert found.class_map.shape == geometry.source_size
    assert found.class_map.dtype == np.uint8
    assert_best(found.class_map, plain_logits(logits[0], geometry, 4))


@st.composite
def geometries(draw):
    """Any part of a small image, whole pixels or not and beyond it too, in any part of an input."""
    source = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    size = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    boxes = []
    for (height, width), step in ((source, 0.25), (size, 1)):
        low = [draw(st.integers(0, side - 1)) for side in (width, height)]
        extent = [draw(st.integers(1, int(side / step))) * step for side in (width, height)]
        boxes.append((*low, *(a + b for a, b in zip(low, extent, strict=True))))
    filled = tuple(map(min, boxes[1], (*size[::-1], *size[::-1])))
    return Geometry(source, boxes[0], size, filled)


@settings(max_examples=200, derandomize=True)
@given(geometries(), st.sampled_from([1, 2, 3, 8]), st.integers(0, 2**32 - 1))
def test_any_part_of_any_image_is_read_as_pixel_by_pixel(geometry, stride, seed):
    cells = [-(-side // stride) for side in geometry.input_size]
    random = np.random.default_rng(seed)
    logits = random.integers(-2, 3, (1, 3, *cells)).astype(np.float32)  # with ties
    classes = random.integers(0, 3, (1, *cells))
    found = read({"logits": logits}, geometry, stride).class_map
    assert_best(found, plain_logits(logits[0], geometry, stride))
    found = read({"classes": classes}, geometry, stride).class_map
    assert np.array_equal(found, plain_classes(classes[0], geometry, stride))


def test_logits_beyond_a_chunk_are_all_interpolated(monkeypatch):
    geometry = GEOMETRIES["much larger"]
    logits = np.random.default_rng(0).normal(0, 1, (1, 3, 8, 12)).astype(np.float32)
    at_once = read({"logits": logits}, geometry).class_map
    monkeypatch.setattr("edgevit.core.tasks.segment.CHUNK_PIXELS", 1)
    assert np.array_equal(read({"logits": logits}, geometry).class_map, at_once)


def test_equal_logits_give_the_lower_class():
    assert not read({"logits": np.zeros((1, 3, 2, 3), np.float32)}).class_map.any()


CLASSES = np.array([[[0, 1, 2], [2, 2, 0]]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64], ids=lambda dtype: dtype.__name__)
def test_classes_go_to_the_pixels_of_their_cell(dtype):
    found = read({"classes": CLASSES.astype(dtype)})
    assert np.array_equal(found.class_map, np.kron(CLASSES[0], np.ones((4, 4), int)))
    assert found.class_names == NAMES
    assert found.pixels_per_class().tolist() == [32, 16, 48]


def test_the_padding_of_a_letterbox_is_taken_off():
    geometry = Geometry((4, 12), (0, 0, 12, 4), (8, 12), (0, 0, 12, 4))
    assert read({"classes": CLASSES}, geometry).class_map[:, ::4].tolist() == [[0, 1, 2]] * 4


@pytest.mark.parametrize("kind", ["classes", "logits"])
def test_pixels_that_were_cropped_off_are_unseen(kind):
    geometry = Geometry((8, 20), (4, 0, 16, 8), (8, 12), (0, 0, 12, 8))
    outputs = {
        "classes": CLASSES,
        "logits": np.eye(3, dtype=np.float32)[CLASSES].transpose(0, 3, 1, 2),
    }
    class_map = read({kind: outputs[kind]}, geometry).class_map
    assert (class_map[:, :4] == 255).all()
    assert (class_map[:, 16:] == 255).all()
    assert class_map[0, [4, 15]].tolist() == [0, 2]
    assert (class_map[:, 4:16] < 3).all()


@pytest.mark.parametrize("kind", ["classes", "logits"])
def test_an_image_without_a_seen_pixel_center_is_unseen(kind):
    geometry = Geometry((1, 2), (0.6, 0, 1.4, 1), (8, 12), (0, 0, 12, 8))
    outputs = {"classes": CLASSES, "logits": np.zeros((1, 3, 2, 3), np.float32)}
    assert read({kind: outputs[kind]}, geometry).class_map.tolist() == [[255, 255]]


@pytest.mark.parametrize("kind", ["classes", "logits"])
def test_many_classes_need_sixteen_bits(kind):
    names = tuple(map(str, range(256)))
    logits = np.zeros((1, 256, 2, 3), np.float32)
    logits[:, 255] = 1
    outputs = {"classes": np.full((1, 2, 3), 255), "logits": logits}
    class_map = read({kind: outputs[kind]}, names=names).class_map
    assert class_map.dtype == np.uint16
    assert (class_map == 255).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(value):
    logits = np.zeros((1, 3, 2, 3), np.float32)
    logits[0, 1, 0, 2] = value
    with pytest.raises(InferenceError, match="not finite"):
        read({"logits": logits})


@pytest.mark.parametrize("value", [-1, 3])
def test_a_class_out_of_range_is_refused(value):
    with pytest.raises(InferenceError, match="but its spec names 3"):
        read({"classes": np.where(CLASSES == 1, value, CLASSES)})
