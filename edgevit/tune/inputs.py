"""What a search starts from: models that can stand for each other, images, and runtimes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgevit.core.cache.files import absolute_path
from edgevit.core.model.metadata import read_metadata
from edgevit.core.model.spec import METADATA_KEY, ModelSpec
from edgevit.core.runtime.profile import FileStamp, stamp
from edgevit.core.runtime.protocols import TunableBackend, TuningOptions
from edgevit.core.runtime.registry import backend_names, get_backend
from edgevit.errors import BackendError, BackendUnavailableError, DeviceError, InputError
from edgevit.evaluate import DataSet
from edgevit.zoo import find_model

Model = str | os.PathLike[str] | None


@dataclass(frozen=True, slots=True)
class Choices:
    """What the search may vary; None leaves a thing to what this machine has.

    Args:
        backends: names of backends.
        device: a device that each backend must have; None for all devices of each.
        precisions: `fp32`, `fp16`, `int8`; a file's own is what it computes in.
        threads: thread counts of one run on a processor; None for the powers of two up to the
            usable cores, and these.
        preprocess: `exact`, `fast`.
        streams: runs at a time, where a backend can and throughput is the objective; None for the
            same counts as threads.
        spinning: names of ways in which a backend's idle threads wait, see
            `edgevit.backend.TuningOptions`.

    Raises:
        InputError: if a thread count is not from 1 up.
    """

    backends: Sequence[str] | None = None
    device: str | None = None
    precisions: Sequence[str] | None = None
    threads: Sequence[int] | None = None
    preprocess: Sequence[str] | None = None
    streams: Sequence[int] | None = None
    spinning: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and min(self.threads, default=0) < 1:
            raise InputError(f"threads must be whole numbers from 1 up, not {self.threads}")


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A model that was given.

    Args:
        path: the file, absolute.
        spec: what it carries.
        stamp: the file as it was when the search began.
    """

    path: Path
    spec: ModelSpec
    stamp: FileStamp


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a backend has on this machine.

    Args:
        devices: names of its devices; at least one.
        tuning: what of its options may be varied.
    """

    devices: Sequence[str]
    tuning: TuningOptions = field(default_factory=TuningOptions)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a search starts from.

    Args:
        models: of one task and the same classes; the first is the reference.
        data: the data set.
        images: all its images.
        runtimes: by backend name.
        notes: on each backend that is left out.
    """

    models: Sequence[SourceModel]
    data: DataSet
    images: Sequence[Path]
    runtimes: Mapping[str, Runtime]
    notes: Sequence[str]


def read_inputs(
    models: Model | Sequence[Model], data: DataSet | str | os.PathLike[str], choices: Choices
) -> Inputs:
    """Find the models, the images and the devices.

    Raises:
        ModelNotFoundError: if a model is not there.
        InputError: if there is no model, one carries no spec, two do not belong together, or there
            are no images.
        BackendError: if a backend that was named cannot be used, or there is none.
        DeviceError: if no backend has the device that was named.
    """
    found = _read_models(models)
    data = DataSet.of(data)
    runtimes, notes = _usable_runtimes(choices)
    return Inputs(found, data, data.image_paths(), runtimes, notes)


def _read_models(models: Model | Sequence[Model]) -> list[SourceModel]:
    named = [models] if models is None or isinstance(models, str | os.PathLike) else models
    paths = list(dict.fromkeys(absolute_path(find_model(model)) for model in named))
    if not paths:
        raise InputError("there is no model to tune; pass at least one")
    found = [SourceModel(path, _read_spec(path), stamp(path)) for path in paths]
    first = found[0]
    for other in found[1:]:
        if (other.spec.task, other.spec.class_names) != (first.spec.task, first.spec.class_names):
            raise InputError(
                f"{str(other.path)!r} is not for the task and classes of {str(first.path)!r}, so "
                "neither can replace the other; tune them one by one"
            )
    return found


def _read_spec(path: Path) -> ModelSpec:
    embedded = read_metadata(path).get(METADATA_KEY)
    if embedded is None:
        raise InputError(
            f"{str(path)!r} carries no edgevit spec, and only models that do can be tuned; "
            "write the file with `edgevit export`"
        )
    return ModelSpec.from_json(embedded)


def _usable_runtimes(choices: Choices) -> tuple[dict[str, Runtime], list[str]]:
    found: dict[str, list[str]] = {}
    notes = []
    for name in backend_names() if choices.backends is None else choices.backends:
        try:
            devices = list(get_backend(name).devices())
        except BackendError as exc:
            if choices.backends is not None:
                raise
            notes.append(f"{name} is left out: {exc}")
            continue
        # A list of devices to choose from at run time is no device that can be measured.
        single = [device for device in devices if not device.startswith("auto:")]
        found[name] = [d for d in single if choices.device in (None, d)]
    usable = {name: Runtime(devices, _tuning(name)) for name, devices in found.items() if devices}
    if not usable and choices.device is not None:
        raise DeviceError(f"no backend has the device {choices.device!r}; there are {found}")
    if not usable:
        raise BackendUnavailableError(f"no backend can be used. {' '.join(notes)}")
    return usable, notes


def _tuning(name: str) -> TuningOptions:
    backend = get_backend(name)
    return backend.tuning_options() if isinstance(backend, TunableBackend) else TuningOptions()
