import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevit import Geometry

CROP = Geometry(
    source_size=(1080, 1920),
    source_box=(487.5, 67.5, 1432.5, 1012.5),
    input_size=(224, 224),
    input_box=(0, 0, 224, 224),
)


def test_the_input_corners_are_the_corners_of_the_source_box():
    corners = CROP.points_to_source(np.array([[0, 0], [224, 224]]))
    assert corners.tolist() == [[487.5, 67.5], [1432.5, 1012.5]]


def test_no_boxes_stay_no_boxes():
    boxes = CROP.boxes_to_source(np.empty((0, 4), np.float32))
    assert boxes.shape == (0, 4)
    assert boxes.dtype == np.float32


def test_boxes_are_clipped_to_the_source_image():
    boxes = CROP.boxes_to_source(np.array([[-1000, -1000, 5000, 5000]], np.float32))
    assert boxes.tolist() == [[0, 0, 1920, 1080]]


def test_padding_is_taken_off():
    letterbox = Geometry((100, 200), (0, 0, 200, 100), (64, 64), (0, 16, 64, 48))
    assert letterbox.points_to_source(np.array([0.0, 16.0])).tolist() == [0, 0]
    assert letterbox.points_to_source(np.array([64.0, 48.0])).tolist() == [200, 100]


@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
)
def test_a_point_goes_to_the_input_and_comes_back(height, width, x, y):
    geometry = Geometry((height, width), (0, 0, width, height), (224, 160), (3, 5, 160, 200))
    point = np.array([x * width, y * height])
    back = geometry.points_to_source(geometry.points_to_input(point))
    assert back == pytest.approx(point, abs=1e-3 * max(height, width))
