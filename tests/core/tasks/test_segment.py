import numpy as np
import pytest

from edgevit import Geometry, InputSpec, ModelSpec
from edgevit.core.image.preprocessor import geometry_of, window_of
from edgevit.core.model.heads import MapHead
from edgevit.core.tasks.segment import segmentation_from_outputs
from edgevit.errors import InferenceError

NAMES = ("road", "sky", "tree")
SAME = Geometry((8, 12), (0, 0, 12, 8), (8, 12), (0, 0, 12, 8))


def read(outputs, geometry=SAME, stride=4, names=NAMES):
    (kind,) = outputs
    head = MapHead(kind, stride)
    size = InputSpec(geometry.input_size)
    spec = ModelSpec("tiny", "tiny", "tiny", "segment", size, names, head.to_dict())
    return segmentation_from_outputs(outputs, geometry, spec, head)


def geometry_for(source, size, resize, crop_pct=1.0):
    spec = InputSpec(size, resize=resize, crop_pct=crop_pct)
    return geometry_of(source, window_of(source, spec), size)


def interpolated(logits, geometry, stride):
    """Every pixel for itself, in float64: (C, H, W) values."""
    height, width = geometry.source_size
    _, rows, columns = logits.shape
    y = geometry.points_to_input(np.stack([np.zeros(height), np.arange(height) + 0.5], 1))[:, 1]
    x = geometry.points_to_input(np.stack([np.arange(width) + 0.5, np.zeros(width)], 1))[:, 0]
    v = np.clip(y.astype(np.float64) / stride - 0.5, 0, rows - 1)
    u = np.clip(x.astype(np.float64) / stride - 0.5, 0, columns - 1)
    i, j = v.astype(int), u.astype(int)
    below, right = np.minimum(i + 1, rows - 1), np.minimum(j + 1, columns - 1)
    p, q = (v - i)[:, None], u - j
    upper = logits[:, i][:, :, j] * (1 - q) + logits[:, i][:, :, right] * q
    lower = logits[:, below][:, :, j] * (1 - q) + logits[:, below][:, :, right] * q
    return upper * (1 - p) + lower * p


GEOMETRIES = {
    "same size": SAME,
    "larger": geometry_for((57, 91), (32, 32), "letterbox"),
    "much larger": geometry_for((331, 200), (32, 48), "letterbox"),
    "stretched": geometry_for((40, 100), (32, 32), "stretch"),
    "smaller": geometry_for((5, 7), (32, 32), "letterbox"),
    "one pixel": geometry_for((1, 1), (32, 32), "stretch"),
    "odd input": geometry_for((60, 50), (30, 26), "stretch"),
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
@pytest.mark.parametrize("classes", [1, 2, 9])
def test_every_pixel_has_the_class_whose_interpolated_logit_is_best(geometry, classes):
    height, width = (-(-side // 4) for side in geometry.input_size)
    logits = np.random.default_rng(classes).normal(0, 1, (1, classes, height, width))
    logits = logits.astype(np.float32)
    found = read({"logits": logits}, geometry, names=tuple("abcdefghi"[:classes]))
    values = interpolated(logits[0].astype(np.float64), geometry, 4)
    won = np.take_along_axis(values, found.class_map[None].astype(int), 0)[0]
    assert found.class_map.shape == geometry.source_size
    assert found.class_map.dtype == np.uint8
    assert (values.max(axis=0) - won).max() < 1e-5  # of float32 logits around 1


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
def test_an_image_without_a_seen_pixel_centre_is_unseen(kind):
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
