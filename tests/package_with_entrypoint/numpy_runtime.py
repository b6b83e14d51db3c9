"""A third party's backend: the few ONNX operators of the conformance kit, computed by NumPy.

It stands for any plugin that edgevit's authors have never seen, so it uses public names only.
"""

from __future__ import annotations

import numpy as np

from edgevit.backend import TensorInfo, check_options, threads_option, unknown_device
from edgevit.errors import InferenceError, LoadError

DTYPES = {
    1: np.float32,
    2: np.uint8,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
}


def convolve(image, kernels, bias, pads):
    padded = np.pad(image, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernels.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, kernels) + bias[:, None, None]


OPERATORS = {
    "Add": np.add,
    "Cast": lambda x, to: x.astype(DTYPES[to[0]]),
    "Conv": convolve,
    "Greater": np.greater,
    "Identity": np.copy,
    "Mul": np.multiply,
    "ReduceSum": lambda x, keepdims: np.sum(x, keepdims=bool(keepdims[0])),
    "Relu": lambda x: np.maximum(x, 0),
    "Reshape": lambda x, shape: x.reshape(shape).copy(),
    "Sub": np.subtract,
}


def varint(buffer, position):
    value, shift = 0, 0
    while True:
        byte = buffer[position]
        position, value, shift = position + 1, value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return value, position


def fields(buffer):
    """Protobuf fields as {number: [values]}; a value is an int or bytes."""
    found, position = {}, 0
    while position < len(buffer):
        key, position = varint(buffer, position)
        if key & 7 == 0:
            value, position = varint(buffer, position)
        elif key & 7 == 2:
            length, position = varint(buffer, position)
            value, position = buffer[position : position + length], position + length
        else:
            raise ValueError(f"wire type {key & 7}")
        found.setdefault(key >> 3, []).append(value)
    if position > len(buffer):
        raise ValueError("the file is cut")
    return found


def tensor_info(message):
    value = fields(message)
    tensor = fields(fields(value[2][0])[1][0])
    axes = [fields(axis).get(1, [None])[0] for axis in fields(tensor[2][0]).get(1, [])]
    return TensorInfo(value[1][0].decode(), np.dtype(DTYPES[tensor[1][0]]), tuple(axes))


def constant(message):
    tensor = fields(message)
    array = np.frombuffer(tensor[9][0], DTYPES[tensor[2][0]])
    return tensor[8][0].decode(), array.reshape(tensor.get(1, []))


def attribute(message):
    value = fields(message)
    return value[1][0].decode(), value.get(8) or value[3]


class Node:
    def __init__(self, message):
        node = fields(message)
        self.inputs = [name.decode() for name in node[1]]
        self.output = node[2][0].decode()
        self.operator = OPERATORS[node[4][0].decode()]
        self.attributes = dict(map(attribute, node.get(5, [])))

    def run(self, tensors):
        arguments = [tensors[name] for name in self.inputs]
        tensors[self.output] = self.operator(*arguments, **self.attributes)


class NumpySession:
    def __init__(self, content):
        graph = fields(fields(content)[7][0])
        self.inputs = [tensor_info(message) for message in graph[11]]
        self.outputs = [tensor_info(message) for message in graph[12]]
        self.constants = dict(map(constant, graph.get(5, [])))
        self.nodes = [Node(message) for message in graph[1]]
        self.is_closed = False

    def run(self, feeds):
        if self.is_closed:
            raise InferenceError("the session is closed; load the model again")
        tensors = {**self.constants, **feeds}
        try:
            for node in self.nodes:
                node.run(tensors)
        except ValueError as exc:
            raise InferenceError(f"NumPy failed while running: {exc}") from exc
        return {info.name: np.asarray(tensors[info.name]) for info in self.outputs}

    def close(self):
        self.is_closed = True


class QueuedRun:
    def __init__(self, compute, feeds):
        self.compute, self.feeds, self.refusal = compute, feeds, None

    def result(self):
        if self.refusal:
            raise InferenceError(self.refusal)
        return self.compute(self.feeds)


class QueuedNumpySession(NumpySession):
    """Computes a run when its outputs are taken."""

    max_in_flight = 3

    def __init__(self, content):
        super().__init__(content)
        self.queue = []

    def run(self, feeds):
        return self.submit(feeds).result()

    def submit(self, feeds):
        if self.is_closed:
            raise InferenceError("the session is closed; load the model again")
        self.queue.append(QueuedRun(super().run, feeds))
        if len(self.queue) > self.max_in_flight:
            self.queue.pop(0).refusal = "these outputs are given up"
        return self.queue[-1]


class NumpyBackend:
    session = NumpySession

    def devices(self):
        return ["cpu"]

    def load(self, model, *, device, options):
        check_options(options, ["threads"], "numpy")
        threads_option(options, 1)
        if device != "cpu":
            raise unknown_device(device, "numpy", self.devices())
        try:
            return self.session(model.read_bytes())
        except (OSError, ValueError, LookupError) as exc:
            raise LoadError(f"NumPy cannot load {str(model)!r}: {exc!r}") from exc
