"""A GPU build of ONNX Runtime on a machine with one GPU, as far as edgevit sees it.

Everything is computed by the CPU provider; what is asked of the GPU is remembered and checked:
memory is `cuda` memory, and a captured CUDA graph finds its buffers where they were.
"""

import ctypes
from types import SimpleNamespace

import onnxruntime

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
TENSORRT, DIRECTML = "TensorrtExecutionProvider", "DmlExecutionProvider"


class Driver:
    """A CUDA driver with `count` devices."""

    def __init__(self, count, status=0):
        self.count, self.status = count, status

    def cuInit(self, flags):  # its name in the driver
        return self.status

    def cuDeviceGetCount(self, pointer):
        pointer._obj.value = self.count
        return 0


class Build:
    """What the build does, and what it was asked.

    Args:
        on_processor: types of nodes that its GPU providers lack.
        placement: provider of all other nodes; None for the first that was asked for.
    """

    def __init__(self, monkeypatch, on_processor=(), placement=None):
        self.on_processor, self.placement = set(on_processor), placement
        self.loads, self.graphs = [], {}
        true_session, true_value = onnxruntime.InferenceSession, onnxruntime.OrtValue
        providers = [TENSORRT, CUDA, DIRECTML, CPU]

        def make(shape, dtype, kind, index):
            assert (kind, index) == ("cuda", 0)
            return true_value.ortvalue_from_shape_and_type(shape, dtype)

        def load(path, options, *, providers, enable_fallback):
            assert enable_fallback == 0
            self.loads.append(SimpleNamespace(providers=providers, options=options))
            session = Session(self, true_session(path, options, providers=[CPU]), providers)
            if is_graph(providers) and self.on_processor:
                raise RuntimeError("cannot use the graph capture feature as requested")
            return session

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(1))
        monkeypatch.setattr(onnxruntime, "InferenceSession", load)
        monkeypatch.setattr(
            onnxruntime, "OrtValue", SimpleNamespace(ortvalue_from_shape_and_type=make)
        )


def is_graph(providers):
    return bool({"enable_cuda_graph", "trt_cuda_graph_enable"} & set(providers[0][1]))


class Session:
    def __init__(self, build, true, providers):
        self.build, self.true, self.names = build, true, [name for name, _ in providers]
        self.is_graph = is_graph(providers)

    def __getattr__(self, name):
        return getattr(self.true, name)

    def get_providers(self):
        return [*self.names, CPU]

    def get_provider_graph_assignment_info(self):
        for part in self.true.get_provider_graph_assignment_info():
            kinds = {node.op_type for node in part.get_nodes()}
            elsewhere = kinds & self.build.on_processor
            name = CPU if elsewhere else self.build.placement or self.names[0]
            yield SimpleNamespace(ep_name=name, get_nodes=part.get_nodes)

    def io_binding(self):
        return Binding(self.true.io_binding())

    def run_with_iobinding(self, binding, options):
        if self.is_graph:
            graph = options.get_run_config_entry("gpu_graph_id") if options else "0"
            first = self.build.graphs.setdefault((id(self), graph), dict(binding.addresses))
            assert binding.addresses == first, "a captured graph's buffers have moved"
        self.true.run_with_iobinding(binding.true, options)


class Binding:
    def __init__(self, true):
        self.true, self.addresses = true, {}

    def __getattr__(self, name):
        return getattr(self.true, name)

    def bind_ortvalue_input(self, name, value):
        self.addresses[name] = value.data_ptr()
        self.true.bind_ortvalue_input(name, value)

    def bind_ortvalue_output(self, name, value):
        self.addresses[name] = value.data_ptr()
        self.true.bind_ortvalue_output(name, value)

    def bind_output(self, name, kind, index):
        assert (kind, index) == ("cuda", 0)
        self.true.bind_output(name)
