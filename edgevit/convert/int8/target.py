"""What a quantized graph looks like for each runtime to be fast, and which is fastest here.

Every form is a standard file that all runtimes run; they differ in what makes a runtime's own
optimizer find its integer kernels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import onnx_ir as ir

from edgevit.convert.graph import to_proto
from edgevit.convert.int8.gelu import polynomial_gelus
from edgevit.convert.int8.graph import Product
from edgevit.convert.int8.insert import insert_qdq
from edgevit.convert.int8.norms import norms_with_batch_axis
from edgevit.convert.session import Feeds
from edgevit.core.runtime.protocols import Session
from edgevit.core.runtime.registry import get_backend
from edgevit.errors import BackendError, InputError, QuantizationError

RUNS = 15  # of each form and of float32, in turn
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class TargetLayout:
    """How a graph is laid out.

    Args:
        quantized_outputs: whether what an integer convolution answers is rounded to int8 again.
            ONNX Runtime has no convolution of integers that answers floats; OpenVINO's does, and
            computes what follows with it.
        polynomial_gelu: see `edgevit.convert.int8.gelu`.
        batched_norms: see `edgevit.convert.int8.norms`.
    """

    quantized_outputs: bool = False
    polynomial_gelu: bool = False
    batched_norms: bool = False

    def prepare(self, model: ir.Model) -> ir.Model:
        """Copy a float32 graph, its activations as this layout has them."""
        made = model.clone()
        if self.polynomial_gelu:
            polynomial_gelus(made.graph)
        if self.batched_norms:
            norms_with_batch_axis(made.graph)
        return made

    def quantize(
        self, model: ir.Model, products: Sequence[Product], thresholds: Mapping[str, float]
    ) -> ir.Model:
        """Copy a prepared graph, some of its products in integers."""
        outputs = [product.output for product in products] if self.quantized_outputs else ()
        return insert_qdq(model, products, thresholds, outputs=outputs)


LAYOUTS: Mapping[str, TargetLayout] = {
    "openvino": TargetLayout(polynomial_gelu=True, batched_norms=True),
    "onnxruntime": TargetLayout(quantized_outputs=True),
    "tensorrt": TargetLayout(),
}
MEASURED = ("openvino", "onnxruntime")  # whose forms can be compared on any processor


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians of one backend, in milliseconds for one run.

    Args:
        float32_ms: of the file as it was.
        int8_ms: of this backend's form, every layer quantized.
    """

    float32_ms: float
    int8_ms: float


def choose_layout(
    model: ir.Model,
    products: Sequence[Product],
    thresholds: Mapping[str, float],
    *,
    source: Path,
    feeds: Feeds,
    threads: int | None,
    step: Callable[[], object],
) -> tuple[str, dict[str, Speed]]:
    """Measure each usable backend's form on this machine.

    Args:
        model: the float32 graph.
        products: its layers.
        thresholds: of their inputs and outputs.
        source: the float32 file.
        feeds: inputs of one image.
        threads: of a run; None for the default.
        step: called after each turn of the measurement.

    Returns:
        The backend whose form is fastest, and what was measured.

    Raises:
        QuantizationError: if no backend can be used.
    """
    sessions: dict[tuple[str, bool], Session] = {}
    with TemporaryDirectory() as folder:
        for name in MEASURED:
            layout = LAYOUTS[name]
            file = Path(folder) / f"{name}.onnx"
            made = layout.quantize(layout.prepare(model), products, thresholds)
            file.write_bytes(to_proto(made).SerializeToString())
            pair = _sessions(name, (source, file), threads)
            sessions |= {(name, index == 1): session for index, session in enumerate(pair)}
        times = _medians_ms(sessions, feeds, step)
    if not times:
        raise QuantizationError(f"none of the backends {', '.join(MEASURED)} can be used")
    speeds = {
        name: Speed(times[name, False], times[name, True])
        for name in MEASURED
        if (name, True) in times
    }
    return min(speeds, key=lambda name: speeds[name].int8_ms), speeds


def check_target(name: str) -> None:
    """Refuse a backend that has no form.

    Raises:
        InputError: naming those that have.
    """
    if name != AUTO and name not in LAYOUTS:
        raise InputError(f"target must be one of auto, {', '.join(LAYOUTS)}, not {name!r}")


def _sessions(name: str, files: Sequence[Path], threads: int | None) -> list[Session]:
    options: dict[str, object] = {} if threads is None else {"threads": threads}
    if name == "openvino":
        options["cache"] = False  # nobody will load these files again
    try:
        backend = get_backend(name)
        return [backend.load(file, device="cpu", options=options) for file in files]
    except BackendError:  # not installed here: its form is not a candidate
        return []


def _medians_ms(
    sessions: Mapping[tuple[str, bool], Session], feeds: Feeds, step: Callable[[], object]
) -> dict[tuple[str, bool], float]:
    times: dict[tuple[str, bool], list[float]] = {key: [] for key in sessions}
    for _ in range(RUNS):
        for key, session in sessions.items():
            session.run(feeds)
            started = perf_counter()
            session.run(feeds)
            times[key].append(1e3 * (perf_counter() - started))
        step()
    for session in sessions.values():
        session.close()
    return {key: median(spent) for key, spent in times.items()}
