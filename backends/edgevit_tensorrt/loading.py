"""From an ONNX file to a session: the engine out of the cache, or built and kept there."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tensorrt as trt

from edgevit.backend import CompiledCache, CompiledModel, file_digests, unknown_device
from edgevit.errors import LoadError
from edgevit_tensorrt.buffers import CudaError, Driver, GpuInfo
from edgevit_tensorrt.child import Built, build
from edgevit_tensorrt.engine import Engine
from edgevit_tensorrt.log import the_log
from edgevit_tensorrt.options import BuildOptions, Options, read_options
from edgevit_tensorrt.request import Request
from edgevit_tensorrt.session import ShapesOf, TensorRTSession

logger = logging.getLogger(__name__)


def dla_cores(driver: Driver) -> int:
    """How many DLA cores the first GPU's board has."""
    with driver.open(0).active():
        return int(trt.Runtime(the_log()).num_DLA_cores)


def load(
    model: Path,
    *,
    device: str,
    available: Sequence[str],
    options: Mapping[str, object],
    driver: Driver,
) -> TensorRTSession:
    """Load a model.

    Args:
        model: the ONNX file.
        device: `cuda:N` or `dla:N`, one of `available`.
        available: the devices that this machine has, by name.
        options: what the user gave, unchecked.
        driver: how CUDA is reached.

    Raises:
        DeviceError: if the device is not there.
        InputError: if an option is unknown or has an unusable value.
        LoadError: if TensorRT refuses the model, or CUDA the memory.
    """
    checked = read_options(options)
    if device not in available:
        raise unknown_device(device, "tensorrt", available)
    kind, _, index = device.partition(":")
    gpu, dla = (int(index), None) if kind == "cuda" else (0, int(index))
    source = Source(model, device, gpu, dla, checked, driver)
    try:
        return TensorRTSession(
            source.engine(checked.build),
            gpu_index=gpu,
            contexts=checked.contexts,
            cuda_graph=checked.cuda_graph,
            grow=source.grown if checked.build.profiles is None else None,
        )
    except CudaError as exc:
        raise LoadError(f"TensorRT cannot load {str(model)!r}: {exc}") from exc


@dataclass(frozen=True, slots=True)
class Source:
    """Where the engines of one session come from.

    Args:
        model: the ONNX file.
        device: the device's name.
        gpu: index of the GPU.
        dla: index of the DLA core; None for the GPU.
        options: what the user gave, checked.
        driver: how CUDA is reached.
    """

    model: Path
    device: str
    gpu: int
    dla: int | None
    options: Options
    driver: Driver

    def engine(self, options: BuildOptions) -> Engine:
        """Take the engine from the cache, or build it and keep it there."""
        try:
            files = file_digests(self.model)
        except (OSError, ValueError) as exc:
            raise LoadError(f"TensorRT cannot load {str(self.model)!r}: {exc}") from exc
        if files is None or self.options.cache is None:
            return self._engine_of(self._build(options))
        return self._cached(CompiledCache(self.options.cache, suffix=".plan"), files, options)

    def grown(self, shapes: ShapesOf) -> Engine:
        """Build an engine for a batch that the first one does not take.

        Args:
            shapes: of the inputs with a free batch.
        """
        profile = {
            name: ((1, *rest), (batch, *rest), (1 << (batch - 1).bit_length(), *rest))
            for name, (batch, *rest) in shapes.items()
        }
        logger.warning(
            "the engine of %s takes no inputs of %s; option 'profiles' would have built it at load",
            self.model.name,
            dict(shapes),
        )
        return self.engine(replace(self.options.build, profiles=(profile,)))

    def _cached(
        self, compiled: CompiledCache, files: Mapping[str, str], options: BuildOptions
    ) -> Engine:
        facts = self._facts(files, options)
        engine, refusal = self._deserialized(compiled, compiled.find(facts))
        if engine is not None:
            return engine
        with compiled.building(facts, self.model, because=refusal) as building:
            engine, _ = self._deserialized(compiled, building.found)
            if engine is not None:
                return engine
            built = self._build(options)
            engine = self._engine_of(built)
            building.store(built.plan, built.described)
            return engine

    def _facts(self, files: Mapping[str, str], options: BuildOptions) -> dict[str, Any]:
        info = self._info()
        return {
            "files": dict(files),
            "tensorrt": trt.__version__,
            "cuda": self.driver.version(),
            "device": "cuda" if self.dla is None else "dla",  # equal ones share an engine
            "hardware": {"name": info.name, "compute_capability": info.compute_capability},
            "options": options.facts(),
        }

    def _info(self) -> GpuInfo:
        return self.driver.info(self.gpu)

    def _deserialized(
        self, compiled: CompiledCache, found: CompiledModel | None
    ) -> tuple[Engine | None, str]:
        """Load a cached engine; where TensorRT refuses it, say why in its place."""
        if found is None:
            return None, ""
        try:
            return self._engine_of(Built(found.content, found.record.extras)), ""
        except LoadError as exc:
            refusal = f"TensorRT refuses the cached engine ({exc})"
            logger.warning("%s; building it again", refusal)
            compiled.discard(found)
            return None, refusal

    def _engine_of(self, built: Built) -> Engine:
        return Engine(built.plan, built.described, self.driver.open(self.gpu), self.dla)

    def _build(self, options: BuildOptions) -> Built:
        logger.warning(
            "TensorRT builds an engine of %s for %s (%s): this takes from half a minute to many "
            "minutes, once%s",
            self.model.name,
            self.device,
            self._info().name,
            "" if self.options.cache else ", and is not kept: option 'cache' is false",
        )
        request = Request(
            model=str(self.model.absolute()),
            gpu=self.gpu,
            dla=self.dla,
            threads=self.options.threads,
            build=options.facts(),
            timing_cache=None,
            plan="",
            measured="",
        )
        return build(request, self._timing_cache())

    def _timing_cache(self) -> Path | None:
        """Times of kernels, which every build on this GPU with this TensorRT shares."""
        if self.options.cache is None:
            return None
        gpu = "".join(c if c.isalnum() else "-" for c in self._info().name)
        return self.options.cache / f"{gpu}-{trt.__version__}.timing"
