"""The parts of TensorRT that build."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from pathlib import Path

from fake_gpu import MACHINE, record, settings

from tensorrt.bound import ENUMS, VERSION, Interface, bound
from tensorrt.onnx_graph import INT64, STRING, UNKNOWN, read

__all__ = [
    *("Builder", "IBuilderConfig", "IHostMemory", "ILayer", "ILogger", "INetworkDefinition"),
    *("IOptimizationProfile", "IProgressMonitor", "ITensor", "ITimingCache", "OnnxParser"),
    "ParserError",
]

MAGIC = b"fake plan\n"
HAS_INT64 = "INT64" in ENUMS["DataType"].__members__
ONNX_TYPES = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF"}
LAYERS = {
    "QuantizeLinear": "QUANTIZE",
    "Cast": "CAST",
    "NonZero": "NON_ZERO",
    "Constant": "CONSTANT",
}
DATA_DEPENDENT = ("NonZero",)
# The parser of 8.6 knows operators up to opset 17, that of 10 up to 20 (onnx-tensorrt,
# docs/operators.md of these versions).
TOO_NEW = () if HAS_INT64 else ("Gelu",)


def data_type(element):
    name = ONNX_TYPES[element]
    return ENUMS["DataType"][name if HAS_INT64 or name != "INT64" else "INT32"]


class ILogger(Interface):
    def __init__(self):
        self._is_made = True

    def log(self, severity, msg):
        raise RuntimeError('Tried to call pure virtual function "ILogger::log"')


class IProgressMonitor(Interface):
    def __init__(self):
        self._is_made = True

    def phase_start(self, phase_name, parent_phase, num_steps):
        raise RuntimeError("Tried to call pure virtual function")

    def step_complete(self, phase_name, step):
        raise RuntimeError("Tried to call pure virtual function")

    def phase_finish(self, phase_name):
        raise RuntimeError("Tried to call pure virtual function")


FIRST_LOGGER = []


def adopt(logger):
    """TensorRT has one logger in a process, the first it was given, whoever else gives another."""
    FIRST_LOGGER.append(logger)
    if logger is not FIRST_LOGGER[0]:
        raise AssertionError("a second logger; TensorRT would go on with the first")
    return logger


def say(logger, severity, message):
    if not getattr(logger, "_is_made", False):
        raise TypeError("ILogger.__init__() must be called when overriding __init__")
    logger.log(ENUMS["Severity"][severity], message)


@bound
class IHostMemory(bytearray):
    nbytes = property(len)


@bound
class ITensor:
    def __init__(self, value):
        self._value = value

    @property
    def name(self):
        return self._value.name

    @property
    def dtype(self):
        return data_type(self._value.element)

    @property
    def shape(self):
        return self._value.shape

    @property
    def is_shape_tensor(self):
        return self._value.name.startswith("shape_")


@bound
class ILayer:
    def __init__(self, node, is_half):
        self._node, self._is_half = node, is_half
        self._fixed = {}

    @property
    def name(self):
        return self._node.name or self._node.operator

    @property
    def type(self):
        return ENUMS["LayerType"][LAYERS.get(self._node.operator, "ACTIVATION")]

    @property
    def num_outputs(self):
        return 1

    def get_output(self, index):
        from tensorrt.onnx_graph import Value

        return ITensor(Value(f"{self._node.name}:{index}", 10 if self._is_half else 1, ()))

    @property
    def precision(self):
        return self._fixed["precision"]

    @precision.setter
    def precision(self, value):
        assert value == self.get_output(0).dtype, "a layer is fixed to a type it does not have"
        self._fixed["precision"] = value

    def set_output_type(self, index, dtype):
        self._fixed[index] = dtype


@bound
class INetworkDefinition:
    def __init__(self, flags):
        self._flags, self._graph, self._layers, self._model = flags, None, [], None

    num_inputs = property(lambda self: len(self._graph.inputs))
    num_outputs = property(lambda self: len(self._graph.outputs))
    num_layers = property(lambda self: len(self._layers))

    def get_input(self, index):
        return ITensor(self._graph.inputs[index])

    def get_output(self, index):
        return ITensor(self._graph.outputs[index])

    def get_layer(self, index):
        return self._layers[index]


@bound
class ParserError:
    def __init__(self, number, node, what):
        self._number, self._node, self._what = number, node, what

    def node(self):
        return self._number

    def desc(self):
        return self._what

    def node_name(self):
        return self._node.name if self._node else ""

    def node_operator(self):
        return self._node.operator if self._node else ""


@bound
class OnnxParser:
    def __init__(self, network, logger):
        self._network, self._logger, self._errors = network, logger, []

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index):
        return self._errors[index]

    def parse_from_file(self, model):
        try:
            graph = read(model)
        except (OSError, ValueError, IndexError) as exc:
            say(self._logger, "ERROR", f"Failed to parse ONNX model from file: {model}: {exc}")
            self._errors.append(ParserError(-1, None, "Failed to parse the ONNX model."))
            return False
        for number, node in enumerate(graph.nodes):
            if node.operator.startswith(UNKNOWN) or node.operator in TOO_NEW:
                self._refuse(number, node)
        for tensor in (*graph.inputs, *graph.outputs):
            if tensor.element == STRING:
                self._errors.append(ParserError(-1, None, f"{tensor.name}: Unsupported datatype"))
        if any(tensor.element == INT64 for tensor in (*graph.inputs, *graph.outputs)):
            self._cast_down()
        network = self._network
        is_half = any(tensor.element == 10 for tensor in graph.inputs)
        network._graph, network._model = graph, Path(model).read_bytes()
        network._layers = [ILayer(node, is_half and not KEPT(node)) for node in graph.nodes]
        return not self._errors

    def _refuse(self, number, node):
        said = f"While parsing node number {number} [{node.operator} -> {node.name!r}]:"
        say(self._logger, "ERROR", said)
        say(self._logger, "ERROR", f'--- Begin node ---\nname: "{node.name}"\n--- End node ---')
        what = "Plugin not found, are the plugin name, version, and namespace correct?"
        self._errors.append(ParserError(number, node, what))

    def _cast_down(self):
        if not HAS_INT64:
            say(self._logger, "WARNING", "INT64 is not supported natively; casting down to INT32.")


def KEPT(node):
    """Softmax stands for what an export keeps in float32."""
    return node.operator == "Softmax"


@bound
class IOptimizationProfile:
    def __init__(self):
        self._shapes = {}

    def set_shape(self, input, min, opt, max):
        self._shapes[input] = [list(min), list(opt), list(max)]


@bound
class ITimingCache:
    def __init__(self, content):
        self._content = content

    def serialize(self):
        return IHostMemory(self._content)


@bound
class IBuilderConfig:
    def __init__(self):
        self._flags = {"TF32"}
        self._profiles, self._features, self._pools = [], set(), {}
        self._timing = None
        self._changed = {}

    def set_flag(self, flag):
        self._flags.add(flag.name)

    def clear_flag(self, flag):
        self._flags.discard(flag.name)

    def set_preview_feature(self, feature, enable):
        self._features.add(feature.name)

    def set_memory_pool_limit(self, pool, pool_size):
        self._pools[pool.name] = pool_size

    def add_optimization_profile(self, profile):
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache):
        content = bytes(serialized_timing_cache)
        return ITimingCache(content) if content in (b"", timing_content()) else None

    def set_timing_cache(self, cache, ignore_mismatch):
        self._timing = cache
        return True

    def get_timing_cache(self):
        return self._timing

    def can_run_on_DLA(self, layer):
        return layer._node.operator in ("Conv", "Relu")


def timing_content():
    return f"timing cache of {VERSION} on {MACHINE.gpu_name()}".encode()


@bound
class Builder:
    def __init__(self, logger):
        MACHINE.require_current()
        self._logger = adopt(logger)

    num_DLA_cores = property(lambda self: settings()["dla_cores"])  # noqa: N815

    def create_network(self, flags=0):
        return INetworkDefinition(flags)

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        kinds = ENUMS.get("NetworkDefinitionCreationFlag", {})
        names = {kind.name for kind in kinds if network._flags & (1 << int(kind))}
        if "EXPLICIT_BATCH" in kinds.__members__ and not HAS_INT64:
            assert "EXPLICIT_BATCH" in names, "8.6 parses ONNX into explicit batches only"
        is_strong = "STRONGLY_TYPED" in names or "FP16" not in ENUMS["BuilderFlag"].__members__
        self._note(network, config, is_strong)
        if is_strong:
            assert not config._flags & {"FP16", "INT8"}, "a strongly typed network has no such flag"
        free = {v.name for v in network._graph.inputs if -1 in v.shape}
        if free and not all(free <= set(p._shapes) for p in config._profiles or [None] if p):
            say(self._logger, "ERROR", "Network has dynamic inputs without optimization profile")
            return None
        if not self._work(config):
            return None
        config._timing._content = timing_content()
        return IHostMemory(plan(network, config))

    def _note(self, network, config, is_strong):
        record(
            event="build",
            strongly_typed=is_strong,
            flags=sorted(config._flags),
            pools=config._pools,
            profiles=[profile._shapes for profile in config._profiles],
            features=sorted(config._features),
            device=getattr(config, "default_device_type", None) and config.default_device_type.name,
            dla_core=getattr(config, "DLA_core", None),
            level=getattr(config, "builder_optimization_level", None),
            threads=getattr(self, "max_threads", None),
            known_times=bool(config._timing._content),
            fixed=[sorted(map(str, layer._fixed)) for layer in network._layers],
            pid=os.getpid(),
        )

    def _work(self, config):
        how = settings()["build"]
        monitor = getattr(config, "progress_monitor", None)
        if monitor is not None:
            monitor.phase_start("Build", None, 2)
            monitor.phase_start("Tactics", "Build", 1)
            monitor.step_complete("Tactics", 0)
            monitor.phase_finish("Tactics")
        if how == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "hang":
            time.sleep(600)
        if how == "fail":
            say(self._logger, "ERROR", "Could not find any implementation for node X. [10]")
            return False
        if monitor is not None:
            assert monitor.step_complete("Build", 0)
            assert monitor.step_complete("Build", 1)
            monitor.phase_finish("Build")
        return True


def plan(network, config):
    graph = network._graph
    document = {
        "version": VERSION,
        "gpu": MACHINE.gpu_name(),
        "model": base64.b64encode(network._model).decode(),
        "inputs": [[v.name, data_type(v.element).name, v.shape] for v in graph.inputs],
        "outputs": [[v.name, data_type(v.element).name, v.shape] for v in graph.outputs],
        "profiles": [profile._shapes for profile in config._profiles],
        "shares_profiles": HAS_INT64 or "PROFILE_SHARING_0806" in config._features,
        "depends_on_data": any(node.operator in DATA_DEPENDENT for node in graph.nodes),
    }
    return MAGIC + json.dumps(document).encode()
