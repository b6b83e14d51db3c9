"""Say what this machine has, and prove that a model computes here what its exporter computed."""

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgevit import __version__
from edgevit.core.machine.cpu import allowed_cpus, cpu_features, cpu_name, usable_cores
from edgevit.core.machine.packages import installed
from edgevit.core.model.test_vector import TestVector
from edgevit.core.runtime.registry import backend_names, get_backend
from edgevit.errors import BackendError, EdgeVitError, SpecError
from edgevit.predictor import Predictor

PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "cuda-bindings",
    "pycuda",
    "torch",
    "onnx",
)

BATCH_TOLERANCE = 4 / 255 / 0.2  # two gray levels for each of two resampling passes, normalized


@dataclass(frozen=True, slots=True)
class BackendState:
    """One registered backend: its devices, or the reason why it cannot be used."""

    name: str
    devices: tuple[str, ...]
    reason: str | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What this machine has.

    Args:
        edgevit: version of this package.
        python: version of the interpreter.
        system: operating system and processor architecture.
        packages: versions of the installed packages that matter.
        cpu: processor name.
        cpu_features: instruction sets that matter for inference; empty where the system does not
            tell.
        cpus: logical processors this process may use.
        threads: threads a run uses by default.
        backends: every registered backend.
    """

    edgevit: str
    python: str
    system: str
    packages: Mapping[str, str]
    cpu: str
    cpu_features: tuple[str, ...]
    cpus: int
    threads: int
    backends: tuple[BackendState, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain values that `json.dumps` takes, by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SelfTest:
    """How one backend answered a model's test vector.

    Args:
        backend: backend name.
        device: device name; empty where the backend could not be used.
        batch_error: largest difference of a preprocessed value to the exporter's.
        output_error: largest difference of an output to the exporter's, relative to the largest.
        problem: what is wrong, in one sentence; None where the device computes what it should.
    """

    backend: str
    device: str
    batch_error: float | None
    output_error: float | None
    problem: str | None


def diagnose() -> Diagnosis:
    """Look at versions, backends, devices and the processor."""
    versions = installed()
    return Diagnosis(
        edgevit=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        packages={name: versions[name] for name in PACKAGES if name in versions},
        cpu=cpu_name(),
        cpu_features=cpu_features(),
        cpus=len(allowed_cpus()),
        threads=usable_cores(),
        backends=tuple(_state_of(name) for name in backend_names()),
    )


def self_test(
    model: str | os.PathLike[str] | None, *, device: str = "auto", threads: int | None = None
) -> list[SelfTest]:
    """Run a model's test vector on every registered backend.

    Args:
        model: what `Predictor` takes.
        device: a device name; `auto` for each backend's first.
        threads: threads of one run; None for the default.

    Returns:
        One entry for each backend; one that cannot be used has a problem and no errors.

    Raises:
        ModelError: if the model cannot be read.
        SpecError: if it carries no test vector.
    """
    return [_test_on(name, model, device, threads) for name in backend_names()]


def _test_on(
    backend: str, model: str | os.PathLike[str] | None, device: str, threads: int | None
) -> SelfTest:
    try:
        predictor = Predictor(
            model, backend=backend, device=device, threads=threads, preprocess="exact"
        )
    except BackendError as exc:
        return SelfTest(backend, "", None, None, str(exc))
    with predictor:
        vector = predictor.spec.test_vector
        if vector is None:
            raise SpecError(
                f"{str(predictor.path)!r} carries no test vector; export it with `edgevit export`"
            )
        return _compare(predictor, vector)


def _compare(predictor: Predictor, vector: TestVector) -> SelfTest:
    batch, _ = predictor.preprocess(vector.image)
    try:
        outputs = predictor.infer(batch, score_threshold=0.0)  # as the exporter recorded them
    except EdgeVitError as exc:
        return SelfTest(predictor.backend, predictor.device, None, None, str(exc))
    batch_error = vector.batch.error(batch)
    output_error = max(
        samples.relative_error(outputs[name]) if name in outputs else float("inf")
        for name, samples in vector.outputs.items()
    )
    problem = None
    if not batch_error <= BATCH_TOLERANCE:
        problem = f"preprocessing differs by {batch_error:.2g}, more than {BATCH_TOLERANCE:.2g}"
    elif not output_error <= vector.tolerance:
        problem = f"outputs differ by {output_error:.2g}, more than {vector.tolerance:.2g}"
    return SelfTest(predictor.backend, predictor.device, batch_error, output_error, problem)


def _state_of(name: str) -> BackendState:
    try:
        return BackendState(name, tuple(get_backend(name).devices()), None)
    except BackendError as exc:
        return BackendState(name, (), str(exc))
