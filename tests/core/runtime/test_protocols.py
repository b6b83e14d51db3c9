import numpy as np
import pytest

from edgevit.backend import (
    Backend,
    Session,
    TensorInfo,
    check_feeds,
    check_options,
    threads_option,
    unknown_device,
)
from edgevit.core.runtime.protocols import resolve_device
from edgevit.errors import DeviceError, InputError
from edgevit.testing import FakeBackend

IMAGE = TensorInfo("image", np.dtype("f4"), (None, 3, 4))
INDEX = TensorInfo("index", np.dtype("i8"), ())


@pytest.mark.parametrize(
    ("shape", "dtype", "is_accepted"),
    [
        pytest.param((0, 3, 4), "f4", True, id="empty batch"),
        pytest.param((1, 3, 4), "f4", True, id="one"),
        pytest.param((7, 3, 4), "f4", True, id="free axis is longer"),
        pytest.param((1, 3, 5), "f4", False, id="fixed axis is longer"),
        pytest.param((3, 4), "f4", False, id="axis missing"),
        pytest.param((1, 1, 3, 4), "f4", False, id="axis too many"),
        pytest.param((1, 3, 4), "f8", False, id="wider dtype"),
        pytest.param((1, 3, 4), ">f4", False, id="big-endian"),
    ],
)
def test_tensor_accepts_its_dtype_and_shape_only(shape, dtype, is_accepted):
    assert IMAGE.accepts(np.zeros(shape, dtype)) is is_accepted


def test_tensor_says_its_free_axes_in_words():
    assert str(IMAGE) == "'image' float32 (any, 3, 4)"


def test_feeds_are_returned_without_a_copy():
    image = np.zeros((1, 3, 4), np.float32)
    assert check_feeds([IMAGE], {"image": image})["image"] is image


def test_feeds_are_made_contiguous():
    view = np.arange(24, dtype=np.float32).reshape(2, 4, 3).transpose(0, 2, 1)
    checked = check_feeds([IMAGE], {"image": view})["image"]
    assert checked.flags.c_contiguous
    np.testing.assert_array_equal(checked, view)


def test_feed_of_rank_zero_keeps_its_rank():
    assert check_feeds([INDEX], {"index": np.array(3)})["index"].shape == ()


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        pytest.param({}, r"takes the inputs \['image'\], but was fed \[\]", id="nothing"),
        pytest.param({"picture": np.zeros((1, 3, 4), "f4")}, r"fed \['picture'\]", id="other name"),
        pytest.param({"image": np.zeros((1, 3, 4))}, r"fed an array of float64", id="dtype"),
        pytest.param({"image": np.zeros((3, 4), "f4")}, r"\(any, 3, 4\) was fed", id="shape"),
        pytest.param({"image": [[[1.0]]]}, "was fed a list", id="a list"),
        pytest.param({"image": None}, "was fed a NoneType", id="None"),
    ],
)
def test_wrong_feeds_are_named_in_the_error(feeds, message):
    with pytest.raises(InputError, match=message):
        check_feeds([IMAGE], feeds)


def test_feed_names_that_are_no_text_are_an_input_error():
    with pytest.raises(InputError, match="takes the inputs"):
        check_feeds([IMAGE], {1: np.zeros(1), "image": np.zeros((1, 3, 4), "f4")})


@pytest.mark.parametrize(
    ("options", "threads"),
    [({}, 3), ({"threads": None}, 3), ({"threads": 1}, 1), ({"threads": 64}, 64)],
)
def test_threads_default_where_not_given(options, threads):
    assert threads_option(options, 3) == threads


@pytest.mark.parametrize("threads", [0, -1, 1.0, "2", True, False, [2]])
def test_threads_that_are_no_count_are_refused(threads):
    with pytest.raises(InputError, match="whole number from 1 up"):
        threads_option({"threads": threads}, 3)


def test_unknown_option_suggests_the_closest():
    message = r"\(did you mean 'threads'\?\); accepted: 'threads', 'config'"
    with pytest.raises(InputError, match=message):
        check_options({"thread": 2}, iter(["threads", "config"]), "fake")


def test_known_options_pass():
    check_options({"threads": 2}, ["threads", "config"], "fake")


def test_unknown_device_lists_what_there_is():
    error = unknown_device("gpu", "fake", iter(["cpu", "npu"]))
    assert "available: 'cpu', 'npu'" in str(error)


def test_auto_device_is_the_first():
    assert resolve_device(FakeBackend([], [], names=["npu", "cpu"]), "fake", "auto") == "npu"


def test_named_device_is_left_to_the_backend():
    assert resolve_device(FakeBackend([], []), "fake", "cuda:7") == "cuda:7"


def test_backend_without_devices_is_a_device_error():
    with pytest.raises(DeviceError, match="'fake' finds no device"):
        resolve_device(FakeBackend([], [], names=[]), "fake", "auto")


def test_protocols_tell_a_backend_from_another_object():
    assert not isinstance(object(), Backend)
    assert not isinstance(FakeBackend([], []), Session)
