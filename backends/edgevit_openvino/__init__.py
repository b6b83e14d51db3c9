"""OpenVINO as an edgevit backend.

Devices are OpenVINO's in lower case: `gpu`, `gpu.1`, `cpu`, `npu`. Where there is a GPU,
`auto:gpu,cpu`, its AUTO plugin, comes first: it answers from the processor until the GPU is ready.
Any list after `auto:` and capitals are accepted.

Options:
    threads: int, processor threads of all runs; default: the physical cores this process may use.
    streams: int, runs at a time, for throughput: a device's queue takes that many or more, and the
        processor's threads are shared out among them; default: 1, for latency.
    config: mapping of text to value, OpenVINO properties, over the defaults below.
    cache: whether to keep the compiled model for the next start, or the folder to keep it in;
        default: true. What AUTO compiles is never kept.
"""

import logging
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from edgevit.backend import (
    Build,
    CompiledCache,
    CompiledModel,
    TuningOptions,
    cache_dir,
    check_options,
    count_option,
    file_digests,
    threads_option,
    unknown_device,
    usable_cores,
)
from edgevit.errors import InputError, LoadError
from edgevit_openvino.session import OpenVINOSession, reason
from edgevit_openvino.vendor import FrontEndManager, openvino

PRECISION = "INFERENCE_PRECISION_HINT"
CONFIG: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY"}

# Threads are not pinned: those of two processes would be pinned to the same cores. 32 bits also on
# processors with 16-bit units, where OpenVINO rounds otherwise: the answers are the export's.
CPU_CONFIG: dict[str, object] = {
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
    PRECISION: "f32",
}

# Threads cannot be told how long to spin, only whether to stay on their cores.
SPINNING = {"default": {}, "pinned": {"config": {"ENABLE_CPU_PINNING": True}}}

AUTO = "auto:"
RANKS = {"gpu": 1, "cpu": 2}  # others last: OpenVINO's AUTO leaves the NPU out by default, too
DISCRETE_GPU_RANK = 0

logger = logging.getLogger(__name__)


class OpenVINOBackend:
    """OpenVINO; see the module for devices and options."""

    def __init__(self) -> None:
        self._core = openvino.Core()

    def devices(self) -> list[str]:
        """Devices of this machine in OpenVINO's order of preference; AUTO first with a GPU."""
        names = sorted((name.lower() for name in self._core.available_devices), key=self._rank)
        choice = [name for name in names if name.startswith(("gpu", "cpu"))]
        has_choice = len(choice) > 1 and choice[0].startswith("gpu")
        return [AUTO + ",".join(choice), *names] if has_choice else names

    def load(self, model: Path, *, device: str, options: Mapping[str, object]) -> OpenVINOSession:
        """Load a model; see `edgevit.backend.Backend`."""
        check_options(options, ("threads", "streams", "config", "cache"), "openvino")
        self._check_device(device)
        config = _config(device.lower(), options)
        folder = _cache_folder(options.get("cache", True))
        if folder is None or device.lower().startswith(AUTO):
            return self._session(model, device.upper(), config)
        return self._cached_session(model, device.upper(), config, folder)

    def tuning_options(self) -> TuningOptions:
        """Pinned threads and streams; see `edgevit.backend.TunableBackend`."""
        return TuningOptions(SPINNING, has_streams=True)

    def _rank(self, name: str) -> tuple[int, str]:
        kind = name.partition(".")[0]
        is_discrete = kind == "gpu" and "DISCRETE" in self._property(name.upper(), "DEVICE_TYPE")
        return (DISCRETE_GPU_RANK if is_discrete else RANKS.get(kind, 3)), name

    def _property(self, device: str, name: str) -> str:
        try:
            return str(self._core.get_property(device, name))
        except RuntimeError:  # this device has no such property
            return ""

    def _check_device(self, device: str) -> None:
        available = self.devices()
        known = {*available, *(["gpu.0"] if "gpu" in available else [])}
        if not set(device.lower().removeprefix(AUTO).split(",")) <= known:
            raise unknown_device(device, "openvino", available)

    def _session(self, model: Path, device: str, config: dict[str, Any]) -> OpenVINOSession:
        graph = _read_graph(model)
        compiled = self._compile(graph, model, device, config)
        return _session(compiled, config, _names(graph.inputs), _names(graph.outputs))

    def _compile(
        self, graph: openvino.Model, model: Path, device: str, config: dict[str, Any]
    ) -> openvino.CompiledModel:
        try:
            return self._core.compile_model(graph, device, config)
        except RuntimeError as exc:
            raise _load_error(model, exc) from exc

    def _cached_session(
        self, model: Path, device: str, config: dict[str, Any], folder: Path
    ) -> OpenVINOSession:
        facts = self._facts(model, device, config)
        if facts is None:
            return self._session(model, device, config)
        cache = CompiledCache(folder, suffix=".blob")
        session, refusal = self._imported(cache, cache.find(facts), config)
        if session is not None:
            return session
        with cache.building(facts, model, because=refusal) as build:
            session, _ = self._imported(cache, build.found, config)
            return session or self._built(build, config)

    def _built(self, build: Build, config: dict[str, Any]) -> OpenVINOSession:
        graph = _read_graph(build.model)
        names = {"inputs": _names(graph.inputs), "outputs": _names(graph.outputs)}
        compiled = self._compile(graph, build.model, build.facts["device"], config)
        content = _export(compiled)
        if content is not None:
            build.store(content, names)
        return _session(compiled, config, **names)

    def _facts(self, model: Path, device: str, config: dict[str, Any]) -> dict[str, Any] | None:
        try:
            files = file_digests(model)
        except (OSError, ValueError) as exc:
            raise _load_error(model, exc) from exc
        facts = ("FULL_DEVICE_NAME", "DEVICE_ARCHITECTURE", "OPTIMIZATION_CAPABILITIES")
        return files and {
            "files": files,
            "openvino": openvino.get_version(),
            "device": device,
            "precision": str(config.get(PRECISION, "the device's own")),
            "hardware": {fact: self._property(device, fact) for fact in facts},
            "config": {name: str(value) for name, value in config.items() if name != PRECISION},
        }

    def _imported(
        self, cache: CompiledCache, cached: CompiledModel | None, config: dict[str, Any]
    ) -> tuple[OpenVINOSession | None, str]:
        """Load a cached model; where OpenVINO refuses it, say why in place of the session."""
        if cached is None:
            return None, ""
        try:
            device = cached.record.facts["device"]
            compiled = self._core.import_model(cached.content, device, config)
            return _session(compiled, config, **cached.record.extras), ""
        except RuntimeError as exc:
            refusal = f"OpenVINO refuses the cached model ({reason(exc)})"
            logger.warning("%s; building it again", refusal)
            cache.discard(cached)
            return None, refusal


def _read_graph(model: Path) -> openvino.Model:
    """Read with the ONNX reader alone; `Core.read_model` tries every format it knows."""
    try:
        reader = FrontEndManager().load_by_framework("onnx")
        graph = reader.convert(reader.load(str(model)))
    except Exception as exc:  # its exception classes share no base below Exception
        raise _load_error(model, exc) from exc
    if not graph.outputs:
        raise LoadError(f"OpenVINO cannot load {str(model)!r}: it holds no graph")
    return graph


def _names(ports: Iterable[Any]) -> tuple[str, ...]:
    """ONNX names; the compiled model adds names of tensors that it merged with these."""
    return tuple(port.get_any_name() for port in ports)


def _export(compiled: openvino.CompiledModel) -> bytes | None:
    stream = BytesIO()
    try:
        compiled.export_model(stream)
    except RuntimeError as exc:
        logger.info("this compiled model cannot be kept: %s", reason(exc))
        return None
    return stream.getvalue()


def _config(device: str, options: Mapping[str, object]) -> dict[str, Any]:
    extra = options.get("config", {})
    if not isinstance(extra, Mapping):
        raise InputError(f"option 'config' must be a mapping of text to value, not {extra!r}")
    threads = threads_option(options, usable_cores())
    streams = count_option(options, "streams", 1)
    hint = CONFIG if streams == 1 else {"PERFORMANCE_HINT": "THROUGHPUT"}
    processor = CPU_CONFIG | {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams}
    if device == "cpu":
        return {**hint, **processor, **extra}
    if device.startswith(AUTO):
        own = {"DEVICE_PROPERTIES": {"CPU": processor}} if "cpu" in device else {}
        return {**hint, **own, **extra}
    return {**hint, **({"NUM_STREAMS": streams} if streams > 1 else {}), **extra}


def _session(
    compiled: openvino.CompiledModel,
    config: Mapping[str, object],
    inputs: Iterable[str],
    outputs: Iterable[str],
) -> OpenVINOSession:
    """Take as many requests as the device works through at a time, where throughput is wanted."""
    is_queue = config.get("PERFORMANCE_HINT") == "THROUGHPUT"
    requests = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") if is_queue else 1
    streams = config.get("NUM_STREAMS")
    if isinstance(streams, int) and requests < streams:  # every stream needs a thread
        logger.warning(
            "OpenVINO makes %d of the %d streams; ask for as many threads", requests, streams
        )
    return OpenVINOSession(compiled, inputs, outputs, max_in_flight=requests)


def _cache_folder(cache: object) -> Path | None:
    if isinstance(cache, bool):
        return cache_dir() / "openvino" if cache else None
    if isinstance(cache, (str, Path)):
        return Path(cache)
    raise InputError(f"option 'cache' must be true, false or a folder, not {cache!r}")


def _load_error(model: Path, exc: Exception) -> LoadError:
    return LoadError(f"OpenVINO cannot load {str(model)!r}: {reason(exc)}")
