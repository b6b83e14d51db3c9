"""Feeds that are on the GPU already, against fakes."""

import numpy as np
import pytest
from tensorrt_machine import ANSWER, LIBRARIES, answer, load

import edgevit
from edgevit.errors import (
    InputError,
)
from edgevit.testing.models import CONVOLUTION, PAIR


class OnGpu:
    """An array of another library, as `__cuda_array_interface__` describes it."""

    def __init__(self, gpu, array, **interface):
        gpu.push(1000)
        self.address = gpu.allocate(array.nbytes, "device")
        gpu.pop()
        self.array, self.shape = array, array.shape
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (self.address, True),
            "strides": None,
            "version": 3,
            **interface,
        }

    def write(self):
        import ctypes

        ctypes.memmove(self.address, self.array.tobytes(), self.array.nbytes)


class OnGpuByDlpack:
    """The same array, as DLPack describes it."""

    def __init__(self, array, index=0, strides=None, code=2):
        self.shape, self._array, self._index = array.shape, array, index
        self._strides, self._code = strides, code
        self.streams = []

    def __dlpack_device__(self):
        return (2, self._index)

    def __dlpack__(self, *, stream=None):
        import ctypes

        from edgevit_tensorrt.device_arrays import _DLTensor

        self.streams.append(stream)
        lengths = ctypes.c_int64 * len(self.shape)
        self._shape = lengths(*self.shape)
        array = self._array.array
        self._tensor = _DLTensor(
            data=self._array.address - 16,
            device_type=2,
            device_id=self._index,
            ndim=len(self.shape),
            code=self._code,
            bits=8 * array.itemsize,
            lanes=1,
            shape=self._shape,
            strides=lengths(*self._strides) if self._strides else None,
            byte_offset=16,
        )
        new = ctypes.pythonapi.PyCapsule_New
        new.restype = ctypes.py_object
        new.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(ctypes.addressof(self._tensor), b"dltensor", None)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("way", ["interface", "dlpack"])
def test_array_on_the_gpu_is_read_where_it_is(way, library, machine):
    made = machine(library=library)
    session = load(made.backend())
    array = OnGpu(made.gpu, CONVOLUTION.feeds()["image"])
    array.write()
    feed = array if way == "interface" else OnGpuByDlpack(array)
    for scale in (1, 2):
        array.array = array.array * scale
        array.write()
        outputs = session.run({"image": feed})
        expected = CONVOLUTION.answer({"image": array.array})["features"]
        np.testing.assert_allclose(outputs["features"], expected, rtol=1e-4)
    kinds = [block.kind for block in made.gpu.blocks.values()]
    assert sorted(kinds) == ["device", "device", "pinned"]  # the feed, the output, and its copy
    if way == "dlpack":
        assert feed.streams[0] in made.gpu.streams


@pytest.mark.parametrize("library", LIBRARIES)
def test_work_of_the_arrays_own_library_is_waited_for(library, machine):
    made = machine(library=library)
    session = load(made.backend())
    gpu = made.gpu
    gpu.push(1000)
    producer = gpu.create_stream()
    array = OnGpu(gpu, CONVOLUTION.feeds()["image"], stream=producer)
    gpu.push_work(producer, array.write)
    gpu.pop()
    np.testing.assert_allclose(session.run({"image": array})["features"], ANSWER, rtol=1e-4)


def test_arrays_on_the_gpu_and_off_it_may_be_mixed(machine):
    made = machine()
    session = load(made.backend(), PAIR.path)
    feeds = PAIR.feeds()
    array = OnGpu(made.gpu, feeds["a"])
    array.write()
    outputs = session.run({"a": array, "b": feeds["b"]})
    np.testing.assert_allclose(outputs["sum"], feeds["a"] + feeds["b"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"typestr": "<f8"}, "fed a GPU array of float64", id="dtype"),
        pytest.param({"shape": (1, 3, 8, 7)}, r"float32 \(1, 3, 8, 7\)", id="shape"),
        pytest.param({"shape": (3, 8, 6)}, r"float32 \(3, 8, 6\)", id="rank"),
        pytest.param({"strides": (576, 4, 72, 12)}, "gaps or another order", id="strides"),
    ],
)
def test_array_on_the_gpu_that_does_not_fit_is_refused(change, message, machine):
    made = machine()
    session = load(made.backend())
    with pytest.raises(InputError, match=message):
        session.run({"image": OnGpu(made.gpu, CONVOLUTION.feeds()["image"], **change)})
    np.testing.assert_allclose(answer(session), ANSWER, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"index": 1}, "on GPU 1, but the model on GPU 0", id="another gpu"),
        pytest.param({"code": 4}, "DLPack type 4 is none of NumPy's", id="bfloat16"),
        pytest.param({"strides": (144, 1, 18, 3)}, "gaps or another order", id="strides"),
    ],
)
def test_dlpack_array_that_does_not_fit_is_refused(change, message, machine):
    made = machine()
    session = load(made.backend())
    array = OnGpu(made.gpu, CONVOLUTION.feeds()["image"])
    with pytest.raises(InputError, match=message):
        session.run({"image": OnGpuByDlpack(array, **change)})


def test_wrong_names_beside_an_array_on_the_gpu_are_refused(machine):
    made = machine()
    session = load(made.backend(), PAIR.path)
    array = OnGpu(made.gpu, PAIR.feeds()["a"])
    with pytest.raises(InputError, match=r"takes the inputs \['b', 'a'\], but was fed"):
        session.run({"a": array})
    with pytest.raises(InputError, match="fed a list"):
        session.run({"a": array, "b": [1, 2]})


def test_predictor_hands_arrays_on_the_gpu_to_its_session(machine, registered, tiny):
    made = machine()
    made.backend()  # lets engines be built here
    with edgevit.Predictor(tiny, backend="tensorrt") as predictor:
        batch, geometry = predictor.preprocess(np.zeros((8, 8, 3), np.uint8))
        array = OnGpu(made.gpu, batch)
        array.write()
        name = predictor.session.inputs[0].name
        outputs = predictor.session.run({name: array})
        result = predictor.postprocess(outputs, geometry)
        expected = predictor.classify(np.zeros((8, 8, 3), np.uint8))
    np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-5)
