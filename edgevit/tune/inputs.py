"""What a search starts from: models that belong together, devices, pictures, files, the space."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevit.core.image.files import evenly_spaced
from edgevit.core.machine.cpu import usable_cores
from edgevit.core.model.metadata import read_metadata
from edgevit.core.model.spec import METADATA_KEY, PREPROCESS_MODES, ModelSpec
from edgevit.core.runtime.registry import backend_names, get_backend
from edgevit.errors import BackendError, BackendUnavailableError, DeviceError, InputError
from edgevit.tune.candidate import Candidate, ModelFile, Space, thread_counts
from edgevit.tune.convert import Converter, model_files
from edgevit.zoo import find_model

Model = str | os.PathLike[str] | None
Devices = Mapping[str, Sequence[str]]

MEASURED_PICTURES = 8
CONVERTED_PICTURES = 128  # that converters calibrate and check with


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
        spinning: names of `edgevit.tune.candidate.SPINNING`.
    """

    backends: Sequence[str] | None = None
    device: str | None = None
    precisions: Sequence[str] | None = None
    threads: Sequence[int] | None = None
    preprocess: Sequence[str] | None = None
    streams: Sequence[int] | None = None
    spinning: Sequence[str] | None = None


def model_paths(models: Model | Sequence[Model]) -> list[Path]:
    """Find the files, each once.

    Raises:
        ModelNotFoundError: if one is not there.
        InputError: if there is none.
    """
    named = [models] if models is None or isinstance(models, str | os.PathLike) else models
    paths = list(dict.fromkeys(Path(os.path.abspath(find_model(model))) for model in named))
    if not paths:
        raise InputError("there is no model to tune; pass at least one")
    return paths


def read_specs(paths: Sequence[Path]) -> list[ModelSpec]:
    """Read the specs of models that can stand for each other.

    Raises:
        InputError: if one carries no spec, or another task or other classes than the first.
    """
    specs = []
    for path in paths:
        embedded = read_metadata(path).get(METADATA_KEY)
        if embedded is None:
            raise InputError(
                f"{str(path)!r} carries no edgevit spec, and only models that do can be tuned; "
                "write the file with `edgevit export`"
            )
        specs.append(ModelSpec.from_json(embedded))
        if (specs[-1].task, specs[-1].class_names) != (specs[0].task, specs[0].class_names):
            raise InputError(
                f"{str(path)!r} is not for the task and classes of {str(paths[0])!r}, so neither "
                "can replace the other; tune them one by one"
            )
    return specs


def usable_devices(choices: Choices) -> tuple[dict[str, list[str]], list[str]]:
    """Find the devices of each backend.

    Returns:
        Devices by backend, and a note on each backend that is left out.

    Raises:
        BackendError: if a backend that was named cannot be used, or there is none.
        DeviceError: if no backend has the device that was named.
    """
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
    usable = {name: devices for name, devices in found.items() if devices}
    if not usable and choices.device is not None:
        raise DeviceError(f"no backend has the device {choices.device!r}; there are {found}")
    if not usable:
        raise BackendUnavailableError(f"no backend can be used. {' '.join(notes)}")
    return usable, notes


def runnable_files(
    paths: Sequence[Path],
    pictures: Sequence[Path],
    choices: Choices,
    converters: Mapping[str, Converter],
    say: Callable[[str], object],
) -> tuple[list[ModelFile], list[str]]:
    """Find and convert what can run in the place of the models.

    Returns:
        The files, and a note on each precision that is left out.

    Raises:
        InputError: if nothing is left.
    """
    calibrating = evenly_spaced(pictures, CONVERTED_PICTURES)
    files: list[ModelFile] = []
    notes: list[str] = []
    for path in paths:
        found, left_out = model_files(
            path, choices.precisions, calibrating, converters=converters, say=say
        )
        files += found
        notes += left_out
    if not files:
        raise InputError(f"no model can be had in the precisions {choices.precisions}: {notes}")
    return files, notes


def space_of(
    files: Sequence[ModelFile], devices: Devices, choices: Choices, *, has_streams: bool
) -> Space:
    """Make the space of all candidates.

    Args:
        files: the files that can run.
        devices: devices by backend.
        choices: what to vary.
        has_streams: whether runs at a time are to be varied.

    Raises:
        InputError: if a thread count is not from 1 up to the usable cores.
    """
    cores = usable_cores()
    threads = thread_counts(cores) if choices.threads is None else sorted(set(choices.threads))
    if not threads or threads[0] < 1:
        raise InputError(f"threads must be whole numbers from 1 up, not {choices.threads}")
    streams = choices.streams or (thread_counts(cores) if has_streams else (1,))
    return Space(
        files=files,
        devices=devices,
        threads=threads,
        preprocess=choices.preprocess or PREPROCESS_MODES,
        streams=streams,
        spinning=choices.spinning or (),
    )


def reference_of(path: Path, precision: str, devices: Devices) -> Candidate:
    """What accuracy is compared with: a model as it is, with exact preprocessing."""
    backend, (device, *_) = next(iter(devices.items()))
    return Candidate(ModelFile(path, path, precision), backend, device, None, "default", "exact")
