"""A deserialized engine, and the memory of its tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorrt as trt

from edgevit.backend import AnyArray, TensorInfo
from edgevit.errors import LoadError
from edgevit_tensorrt.buffers import Bytes, Gpu, Resource
from edgevit_tensorrt.data_types import numpy_dtype
from edgevit_tensorrt.log import the_log


class Engine:
    """An engine on a GPU.

    Only what this machine's own cache built comes here: a plan is executable code.
    """

    def __init__(
        self, plan: bytes, described: Mapping[str, Any], gpu: Gpu, dla: int | None
    ) -> None:
        """Deserialize.

        Args:
            plan: the serialized engine.
            described: `inputs`, `outputs` and `profiles` of `edgevit_tensorrt.network`.
            gpu: where it will run.
            dla: index of the DLA core; None for the GPU.

        Raises:
            LoadError: if TensorRT refuses it, as another version or GPU does.
        """
        self.gpu, self.log = gpu, the_log()
        self.inputs = [_tensor_info(entry) for entry in described["inputs"]]
        self.outputs = [_tensor_info(entry) for entry in described["outputs"]]
        self.profiles: list[Mapping[str, Any]] = list(described["profiles"])
        with gpu.active():
            self._runtime = trt.Runtime(self.log)
            self._runtime.engine_host_code_allowed = False
            if dla is not None:
                self._runtime.DLA_core = dla
            self.engine = self._runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise LoadError(self.log.reason("TensorRT refuses the engine without a reason"))
        names = {self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)}
        if names != {info.name for info in [*self.inputs, *self.outputs]}:
            raise LoadError(f"the engine has the tensors {sorted(names)}, not the model's")
        self.dtypes = {name: np.dtype(self._dtype(name)) for name in names}

    def profile_for(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        """Choose the first profile that takes these shapes; None where none does."""
        if not self.profiles:
            return 0
        for index, profile in enumerate(self.profiles):
            if all(_is_within(shapes[name], bounds) for name, bounds in profile.items()):
                return index
        return None

    def _dtype(self, name: str) -> str:
        if self.engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise LoadError(f"tensor {name!r} decides shapes, which edgevit does not run")
        dtype = numpy_dtype(self.engine.get_tensor_dtype(name))
        assert dtype is not None  # the child process has refused the others
        return dtype


class OutputMemory(trt.IOutputAllocator):
    """Memory for an output whose shape depends on data, and is known only when it is computed."""

    def __init__(self, gpu: Gpu) -> None:
        trt.IOutputAllocator.__init__(self)
        self._gpu = gpu
        self._size = 0
        self.memory: Resource | None = None
        self.shape: tuple[int, ...] = ()

    def reallocate_output(self, tensor_name: str, memory: Any, size: int, alignment: int) -> int:
        """Give memory of at least `size` bytes, the former one if it suffices."""
        if self.memory is None or size > self._size:
            self._size = max(size, 1)
            self.memory = self._gpu.allocate(self._size)
        return self.memory.address

    def reallocate_output_async(  # noqa: PLR0917 - TensorRT passes by place
        self, tensor_name: str, memory: Any, size: int, alignment: int, stream: int
    ) -> int:
        """The same, for versions that tell the stream."""
        return self.reallocate_output(tensor_name, memory, size, alignment)

    def notify_shape(self, tensor_name: str, shape: Any) -> None:
        """Keep the shape that a run's output turned out to have, before it is read."""
        self.shape = tuple(shape)


class Tensor:
    """Memory of one input or output: on the device, and pinned on the host; it only grows."""

    def __init__(self, info: TensorInfo, dtype: np.dtype[Any], gpu: Gpu) -> None:
        self.info, self.dtype = info, dtype
        self._gpu = gpu
        self._host: Bytes = np.empty(0, np.uint8)
        self._device: Resource | None = None
        self._device_size = 0
        self.address = 0
        self.shape: tuple[int, ...] = ()
        self.bytes = self._host

    def reshape(
        self, shape: tuple[int, ...], *, address: int | None = None, on_host: bool = True
    ) -> None:
        """Make room.

        Args:
            shape: what it will hold.
            address: where it is on the device, if not in memory of our own.
            on_host: whether it is also on the host.
        """
        size = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        if on_host and (size > self._host.nbytes or self._host.nbytes == 0):
            self._host = self._gpu.allocate_pinned(max(size, 1))
        if address is None and (self._device is None or size > self._device_size):
            self._device_size = max(size, 1)
            self._device = self._gpu.allocate(self._device_size)
        self.address = address or (self._device.address if self._device else 0)
        self.shape = shape
        self.bytes = self._host[:size]

    @property
    def array(self) -> AnyArray:
        """The pinned memory as the array that it holds."""
        return self.bytes.view(self.dtype).reshape(self.shape)


def _tensor_info(entry: Mapping[str, Any]) -> TensorInfo:
    return TensorInfo(entry["name"], np.dtype(entry["dtype"]), tuple(entry["shape"]))


def _is_within(shape: tuple[int, ...], bounds: Sequence[Sequence[int]]) -> bool:
    smallest, _, largest = bounds
    return len(shape) == len(smallest) and all(
        low <= length <= high for low, length, high in zip(smallest, shape, largest, strict=True)
    )
