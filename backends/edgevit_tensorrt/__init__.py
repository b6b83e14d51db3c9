"""TensorRT as an edgevit backend, for NVIDIA GPUs: servers, workstations and Jetson.

Devices are `cuda:0`, `cuda:1` and so on, and on a Jetson that has them the DLA cores `dla:0` and
`dla:1`, whose unsupported layers the GPU computes (a warning names how many).

TensorRT compiles a model into an engine for one GPU and one version. The first load of a model does
that, in a process of its own; it takes from half a minute to many minutes and is announced by a
warning. The engine is kept in the cache of compiled models for later starts.

The precision is the model's own: a float32 export is computed in float32 (without TF32), a float16
one in float16 where its tensors are, a quantized one in int8 between its Q/DQ nodes.

A graph with a free batch axis gets an engine for batches of 1 to 8, tuned for 1; a larger batch
builds another one, up to the next power of two. `profiles` replaces both.

Options:
    threads: int, processor threads of the builder; a run needs none. Default: the physical cores
        this process may use.
    cache: whether to keep the engine for the next start, or the folder to keep it in; default:
        true.
    profiles: what shapes will come, for inputs with free axes: a mapping of input name to smallest,
        usual and largest shape, or a list of such mappings, size by size.
    contexts: int, runs at a time, see `submit`; each takes memory of its own. Default: 2.
    cuda_graph: whether a run whose shapes stay is captured and launched as one; default: true.
    workspace: int, bytes of scratch memory a layer may take; default: what the GPU has.
    optimization_level: int from 0 (build fast) to 5 (run fast); default: TensorRT's.
    tf32: whether float32 products may be computed with TF32, faster, with 3 digits; default: false.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgevit_tensorrt import probe

if TYPE_CHECKING:
    from edgevit_tensorrt.session import TensorRTSession


class TensorRTBackend:
    """TensorRT; see the module for devices and options."""

    def __init__(self) -> None:
        """Start CUDA, then import TensorRT.

        Raises:
            ImportError: if TensorRT, or a library that reaches CUDA, is not installed.
            DeviceError: if there is no NVIDIA driver or no GPU.
            BackendError: if this TensorRT cannot be used.
        """
        self._driver = probe.start()
        self._dla_cores: int | None = None

    def devices(self) -> list[str]:
        """Names of this machine's GPUs, `cuda:0` on, and then of its DLA cores, `dla:0` on."""
        if self._dla_cores is None:
            from edgevit_tensorrt.loading import dla_cores

            self._dla_cores = dla_cores(self._driver)
        gpus = [f"cuda:{index}" for index in range(self._driver.count())]
        return [*gpus, *(f"dla:{core}" for core in range(self._dla_cores))]

    def load(self, model: Path, *, device: str, options: Mapping[str, object]) -> TensorRTSession:
        """Load a model; see `edgevit.backend.Backend`."""
        from edgevit_tensorrt.loading import load

        return load(
            model, device=device, available=self.devices(), options=options, driver=self._driver
        )
