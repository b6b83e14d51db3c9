"""ONNX Runtime as an edgevit backend.

Devices are ONNX Runtime's execution providers: `cpu`, and, where the installed build has the
provider and the machine the hardware, `cuda:N`, `tensorrt:N`, `directml:N` and `coreml`. A device
that does not start is an error, and nodes that it leaves to the processor are reported.

Options:
    threads: int, threads of one run; default: the physical cores this process may use.
    config: mapping of text to text, session configuration entries, over the defaults below.
    provider_options: mapping of text to text, options of the device's execution provider, over
        its defaults; `cuda` computes float32 without TF32 unless `use_tf32` is 1.
    io_binding: bool, keep inputs and outputs in the device's memory, several runs in flight;
        default: true on `cuda` and `tensorrt`, false on `cpu`.
    cuda_graph: bool, capture runs as CUDA graphs, which needs fixed shapes and all nodes on the
        device; default: on `cuda` where possible. On `tensorrt` one run at a time is then in
        flight, because that provider keeps one graph.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from edgevit.backend import (
    TuningOptions,
    check_options,
    threads_option,
    unknown_device,
    usable_cores,
)
from edgevit.errors import InputError, LoadError
from edgevit_onnxruntime import nvidia
from edgevit_onnxruntime.binding import BoundSession, Memory
from edgevit_onnxruntime.placement import RECORD, report_placement
from edgevit_onnxruntime.session import OnnxRuntimeSession

PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
NVIDIA = ("cuda", "tensorrt")

# Kinds of device that inputs and outputs can be bound to -> ONNX Runtime's name of the memory.
MEMORIES = {"cuda": "cuda", "tensorrt": "cuda", "cpu": "cpu"}

# Kinds of device -> the provider's option for CUDA graphs.
GRAPH_OPTIONS = {"cuda": "enable_cuda_graph", "tensorrt": "trt_cuda_graph_enable"}

# By default CUDA rounds the factors of float32 products to 10 bits; the answers are the export's.
CUDA_OPTIONS = {"use_tf32": "0"}

# One run is computed, one is ready to be, and one's outputs are read.
MAX_IN_FLIGHT = 3

# Threads spin while a run lasts and never after it: an idle session that goes on spinning takes
# half of a two-core processor away from every other session.
CONFIG = {"session.force_spinning_stop": "1"}

# The other ways to wait for work: also after a run, or not even during one.
SPINNING = {
    "until-done": {},
    "always": {"config": {"session.force_spinning_stop": "0"}},
    "never": {"config": {"session.intra_op.allow_spinning": "0"}},
}

OPTIONS = ("threads", "config", "provider_options", "io_binding", "cuda_graph")

ERRORS_ONLY = 3  # ONNX Runtime's log severity

logger = logging.getLogger(__name__)


class OnnxRuntimeBackend:
    """ONNX Runtime; see the module for devices and options."""

    def devices(self) -> list[str]:
        """Devices of this build on this machine, accelerators first."""
        built = set(onnxruntime.get_available_providers())
        names = []
        for kind, provider in PROVIDERS.items():
            if provider in built:
                names += _devices_of(kind)
        return names

    def load(
        self, model: Path, *, device: str, options: Mapping[str, object]
    ) -> OnnxRuntimeSession | BoundSession:
        """Load a model; see `edgevit.backend.Backend`."""
        check_options(options, OPTIONS, "onnxruntime")
        if device not in self.devices():
            raise unknown_device(device, "onnxruntime", self.devices())
        kind, _, index = device.partition(":")
        is_bound = _flag(options, "io_binding", kind in NVIDIA)
        is_captured = _is_captured(kind, options, is_bound)
        if is_bound and kind not in MEMORIES:
            raise InputError(
                f"io_binding is not to be had on {device!r}; it is on {', '.join(MEMORIES)}"
            )
        if kind in NVIDIA:
            nvidia.preload_libraries()
        session, has_graph = _load(model, device, options, is_captured)
        if kind != "cpu":
            report_placement(session, PROVIDERS[kind], device)
        if not is_bound:
            return OnnxRuntimeSession(session)
        places = 1 if has_graph and kind == "tensorrt" else MAX_IN_FLIGHT
        memory = Memory(MEMORIES[kind], int(index or 0))
        return BoundSession(session, memory, max_in_flight=places, is_captured=has_graph)

    def tuning_options(self) -> TuningOptions:
        """How threads wait; see `edgevit.backend.TunableBackend`."""
        return TuningOptions(SPINNING)


def _devices_of(kind: str) -> list[str]:
    if kind in NVIDIA:
        return [f"{kind}:{index}" for index in range(nvidia.device_count())]
    return ["directml:0"] if kind == "directml" else [kind]


def _flag(options: Mapping[str, object], name: str, default: bool) -> bool:
    value = options.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InputError(f"option {name!r} must be true or false, not {value!r}")
    return value


def _is_captured(kind: str, options: Mapping[str, object], is_bound: bool) -> bool | None:
    """Whether to capture CUDA graphs; None for where it is possible."""
    given = _text_mapping(options, "provider_options")
    for name in GRAPH_OPTIONS.values():
        if name in given:
            raise InputError(f"provider option {name!r} belongs to the option 'cuda_graph'")
    if options.get("cuda_graph") is None:
        return None if kind == "cuda" and is_bound else False
    wanted = _flag(options, "cuda_graph", False)
    if wanted and not (kind in GRAPH_OPTIONS and is_bound):
        raise InputError("cuda_graph needs a device cuda:N or tensorrt:N, and io_binding")
    return wanted


def _load(
    model: Path, device: str, options: Mapping[str, object], is_captured: bool | None
) -> tuple[onnxruntime.InferenceSession, bool]:
    """Load with a CUDA graph if that is wanted or, for None, possible; says whether with one."""
    if is_captured is None:
        try:
            return _load(model, device, options, True)
        except LoadError as exc:  # if the model itself is to blame, it is so without graph, too
            loaded = _load(model, device, options, False)
            logger.info("%s runs without CUDA graph: %s", model.name, exc)
            return loaded
    kind = device.partition(":")[0]
    graph = {GRAPH_OPTIONS[kind]: "1"} if is_captured else {}
    session = _create(
        model, _session_options(kind, options), _providers(model, device, options, graph)
    )
    _refuse_fallback(session, PROVIDERS[kind], device)
    if is_captured:
        _require_fixed_shapes(session)
    return session, is_captured


def _require_fixed_shapes(session: onnxruntime.InferenceSession) -> None:
    for value in (*session.get_inputs(), *session.get_outputs()):
        if not all(isinstance(axis, int) for axis in value.shape):
            raise LoadError(
                f"a CUDA graph needs fixed shapes, and {value.name!r} has {value.shape}; "
                "pass `cuda_graph=False`, or export without --dynamic-batch"
            )


def _session_options(kind: str, options: Mapping[str, object]) -> onnxruntime.SessionOptions:
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = threads_option(options, usable_cores())
    session_options.log_severity_level = ERRORS_ONLY
    record = {} if kind == "cpu" else {RECORD: "1"}
    for key, value in (CONFIG | record | _text_mapping(options, "config")).items():
        session_options.add_session_config_entry(key, value)
    return session_options


def _providers(
    model: Path, device: str, options: Mapping[str, object], graph: Mapping[str, str]
) -> list[tuple[str, dict[str, str]]]:
    """The device's provider; CUDA takes what TensorRT leaves, rather than the processor."""
    kind, _, index = device.partition(":")
    place = {"device_id": index} if index else {}
    own = _own_options(model, kind)
    given = _text_mapping(options, "provider_options")
    providers = [(PROVIDERS[kind], {**place, **own, **given, **graph})]
    if kind == "tensorrt" and PROVIDERS["cuda"] in onnxruntime.get_available_providers():
        providers.append((PROVIDERS["cuda"], {**place, **CUDA_OPTIONS}))
    return providers


def _own_options(model: Path, kind: str) -> dict[str, str]:
    if kind != "tensorrt":
        return CUDA_OPTIONS if kind == "cuda" else {}
    try:
        return nvidia.engine_options(model)
    except (OSError, ValueError) as exc:
        raise _load_error(model, exc) from exc


def _text_mapping(options: Mapping[str, object], name: str) -> dict[str, str]:
    value = options.get(name, {})
    if not isinstance(value, Mapping):
        raise InputError(f"option {name!r} must be a mapping of text to text, not {value!r}")
    return {str(key): str(entry) for key, entry in value.items()}


def _create(
    model: Path,
    session_options: onnxruntime.SessionOptions,
    providers: list[tuple[str, dict[str, str]]],
) -> onnxruntime.InferenceSession:
    """Load; without `enable_fallback` ONNX Runtime neither starts nor goes on with the CPU."""
    try:
        return onnxruntime.InferenceSession(
            str(model), session_options, providers=providers, enable_fallback=0
        )
    except Exception as exc:  # its exception classes share no base below Exception
        raise _load_error(model, exc) from exc


def _load_error(model: Path, exc: Exception) -> LoadError:
    return LoadError(f"ONNX Runtime cannot load {str(model)!r}: {exc}")


def _refuse_fallback(session: onnxruntime.InferenceSession, provider: str, device: str) -> None:
    """ONNX Runtime leaves out a provider whose libraries are missing; we do not."""
    active: Sequence[Any] = session.get_providers()
    if active[0] != provider:
        raise LoadError(
            f"ONNX Runtime could not start {provider} for device {device!r} and fell back to "
            f"{active[0]}; check its driver and libraries, or pass `device='cpu'`"
        )
