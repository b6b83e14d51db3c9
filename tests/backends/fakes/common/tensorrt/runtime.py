"""The parts of TensorRT that run."""

from __future__ import annotations

import base64
import ctypes
import json

import numpy as np
from fake_gpu import MACHINE, Failure, record, settings

from tensorrt.bound import ENUMS, VERSION, Interface, bound
from tensorrt.builder import MAGIC, adopt, say

__all__ = ["ICudaEngine", "IExecutionContext", "IOutputAllocator", "Runtime"]

DTYPES = {
    "FLOAT": "f4",
    "HALF": "f2",
    "INT8": "i1",
    "INT32": "i4",
    "INT64": "i8",
    "BOOL": "?",
    "UINT8": "u1",
}


class IOutputAllocator(Interface):
    def __init__(self):
        self._is_made = True


@bound
class Runtime:
    def __init__(self, logger):
        MACHINE.require_current()
        self._logger = adopt(logger)

    num_DLA_cores = property(lambda self: settings()["dla_cores"])  # noqa: N815

    def deserialize_cuda_engine(self, serialized_engine):
        MACHINE.require_current()
        assert self.engine_host_code_allowed is False
        content = bytes(serialized_engine)
        record(event="deserialize", dla_core=getattr(self, "DLA_core", None))
        if not content.startswith(MAGIC):
            say(self._logger, "ERROR", "Serialization assertion magicTagRead == kMAGIC_TAG failed.")
            return None
        document = json.loads(content[len(MAGIC) :])
        if (document["version"], document["gpu"]) != (VERSION, MACHINE.gpu_name()):
            say(
                self._logger, "ERROR", "The engine plan file is generated on an incompatible device"
            )
            return None
        return ICudaEngine(document, self._logger)


@bound
class ICudaEngine:
    def __init__(self, document, logger):
        self._document, self._logger = document, logger
        self._tensors = {name: (kind, tuple(shape)) for name, kind, shape in self._all()}
        self._session = None
        self._taken_profiles = set()

    def _all(self):
        return self._document["inputs"] + self._document["outputs"]

    num_io_tensors = property(lambda self: len(self._tensors))

    def get_tensor_name(self, index):
        return sorted(self._tensors)[index]  # any order: applications go by name

    def get_tensor_dtype(self, name):
        return ENUMS["DataType"][self._tensors[name][0]]

    def get_tensor_location(self, name):
        return ENUMS["TensorLocation"]["HOST" if name.startswith("host_") else "DEVICE"]

    def get_tensor_profile_shape(self, name, profile_index):
        return self._document["profiles"][profile_index][name]

    def create_execution_context(self, *strategy):
        MACHINE.require_current()
        if settings().get("contexts") == 0:
            say(self._logger, "ERROR", "Requested amount of GPU memory could not be allocated.")
            return None
        return IExecutionContext(self)

    def _compute(self, feeds):
        if self._session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 4
            model = base64.b64decode(self._document["model"])
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        kinds = {"tensor(int64)": np.int64}
        wanted = {i.name: kinds.get(i.type) for i in self._session.get_inputs()}
        fed = {n: a.astype(wanted[n]) if wanted[n] else a for n, a in feeds.items()}
        names = [name for name, _, _ in self._document["outputs"]]
        outputs = dict(zip(names, self._session.run(names, fed), strict=True))
        return {n: a.astype(DTYPES[self._tensors[n][0]]) for n, a in outputs.items()}


@bound
class IExecutionContext:
    def __init__(self, engine):
        self._engine, self._document = engine, engine._document
        self._shapes, self._addresses, self._allocators = {}, {}, {}
        self._known_shapes = {}
        self._profile = None
        self._choose(0)

    engine = property(lambda self: self._engine)

    def _choose(self, profile):
        taken = self._engine._taken_profiles
        if self._document["shares_profiles"] or profile not in taken:
            taken.add(profile)
            self._profile = profile

    def _log(self, message):
        say(self._engine._logger, "ERROR", message)

    def set_optimization_profile_async(self, profile_index, stream_handle):
        MACHINE.stream(stream_handle)
        if profile_index >= max(1, len(self._document["profiles"])):
            self._log(f"profile {profile_index} is not there")
            return False
        self._choose(profile_index)
        return True

    def set_input_shape(self, name, shape):
        MACHINE.require_current()
        described = {name: tuple(shape) for name, _, shape in self._document["inputs"]}
        want = described[name]
        fits = len(want) == len(shape) and all(
            w in (-1, g) for w, g in zip(want, shape, strict=True)
        )
        if fits and -1 in want:
            if self._profile is None:
                self._log("Optimization profile 0 has been chosen by another context")
                return False
            low, _, high = self._document["profiles"][self._profile][name]
            fits = all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))
        if not fits:
            self._log(f"Static or profile dimension mismatch for tensor {name}: {shape}")
            return False
        self._shapes[name] = tuple(shape)
        self._known_shapes = {}
        return True

    def infer_shapes(self):
        missing = [n for n, _, s in self._document["inputs"] if -1 in s and n not in self._shapes]
        if not missing:
            self._infer()
        return missing

    def _infer(self):
        if self._known_shapes:
            return
        feeds = {
            name: np.zeros(self._shapes[name], DTYPES[kind]) for name, kind, _ in self._inputs()
        }
        try:
            outputs = self._engine._compute(feeds)
        except Exception as exc:  # whatever ONNX Runtime raises
            self._log(f"IShuffleLayer: reshape changes volume: {exc}")
            raise RuntimeError("infer_shapes error code: -1") from None
        unknown = self._document["depends_on_data"]
        described = {name: tuple(shape) for name, _, shape in self._document["outputs"]}
        for name, array in outputs.items():
            hidden = unknown and -1 in described[name]
            self._known_shapes[name] = described[name] if hidden else array.shape

    def _inputs(self):
        return self._document["inputs"]

    def get_tensor_shape(self, name):
        return self._shapes.get(name) or self._known_shapes[name]

    def set_tensor_address(self, name, memory):
        if name not in self._engine._tensors or not memory:
            self._log(f"set_tensor_address({name}, {memory})")
            return False
        self._addresses[name] = int(memory)
        return True

    def set_output_allocator(self, name, output_allocator):
        self._allocators[name] = output_allocator
        return True

    def execute_async_v3(self, stream_handle):
        stream = MACHINE.stream(stream_handle)
        for name in self._engine._tensors:
            if name not in self._addresses and name not in self._allocators:
                self._log(f"Neither address nor allocator is set for tensor {name}")
                return False
        if stream.capturing is not None and not settings()["capture"]:
            stream.broken = True
            self._log("operation not permitted when stream is capturing")
            return False
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        for name, kind, _ in self._inputs():
            self._require(addresses[name], shapes[name], kind)
        if self._allocators:
            assert stream.capturing is None, "memory is allocated while capturing"
            MACHINE.synchronize(stream_handle)
            self._allocate(self._compute(shapes, addresses), addresses)
        else:
            for name, kind, _ in self._document["outputs"]:
                self._require(addresses[name], self._known_shapes[name], kind)
            MACHINE.push_work(stream_handle, lambda: self._run(shapes, addresses))
        record(event="execute", captured=stream.capturing is not None)
        return True

    def _require(self, address, shape, kind):
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(DTYPES[kind]).itemsize
        MACHINE.require_memory(address, size, "device")

    def _compute(self, shapes, addresses):
        feeds = {n: read(addresses[n], shapes[n], DTYPES[kind]) for n, kind, _ in self._inputs()}
        return self._engine._compute(feeds)

    def _run(self, shapes, addresses):
        for name, array in self._compute(shapes, addresses).items():
            write(addresses[name], array)

    def _allocate(self, outputs, addresses):
        for name, array in outputs.items():
            address = addresses.get(name)
            allocator = self._allocators.get(name)
            if allocator is not None:
                arguments = (name, address, max(array.nbytes, 1), 256)
                if VERSION.startswith("8"):
                    address = allocator.reallocate_output(*arguments)
                else:
                    address = allocator.reallocate_output_async(*arguments, 0)
                allocator.notify_shape(name, array.shape)
            write(address, array)


def read(address, shape, dtype):
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    MACHINE.require_memory(address, size, "device")
    return np.frombuffer(ctypes.string_at(address, size), dtype).reshape(shape)


def write(address, array):
    content = np.ascontiguousarray(array).tobytes()
    try:
        MACHINE.require_memory(address, len(content), "device")
    except Failure as exc:
        raise AssertionError(f"an engine writes outside of its memory: {exc}") from exc
    ctypes.memmove(address, content, len(content))
