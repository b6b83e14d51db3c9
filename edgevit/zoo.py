"""The model zoo: which models exist, where they come from and how to get them.

`model_zoo.yaml` holds data only. It is parsed strictly: an unknown or missing key is a ZooError.
"""

import os
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgevit.core.cache.files import cache_dir
from edgevit.core.model.spec import InputSpec
from edgevit.core.model.task import TASKS
from edgevit.core.records import parse, require, require_count, require_value, shown
from edgevit.errors import ModelNotFoundError, SpecError, ZooError, suggestion

PACKAGE = Path(__file__).parent
ASSETS = PACKAGE / "assets"
SCHEMA = 2  # of `model_zoo.yaml`
BUNDLED = {name: task.bundled for name, task in TASKS.items()}
"""Name of the bundled model of each task; the first is what stands for no model's name."""


@dataclass(frozen=True, slots=True)
class ZooFile:
    """An ONNX file, or an official checkpoint, that holds a model's weights.

    Args:
        source: name of the file inside the package, or the address of the official checkpoint.
        sha256: hex digest; None where nobody has seen the file.
        accuracy: in percent of the entry's `metric`, as published or, for a bundled file, as
            measured.
    """

    source: str
    sha256: str | None
    accuracy: float

    def __post_init__(self) -> None:
        is_digest = self.sha256 is None or re.fullmatch("[0-9a-f]{64}", self.sha256)
        require_value("sha256", self.sha256, is_digest, "64 hex digits or null")


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """One model of the zoo.

    Args:
        name: what `Predictor(name)` takes.
        family: e.g. `cas_vit`.
        variant: e.g. `cas_vit_xs`.
        task: e.g. `classify`.
        parameters: number of trainable parameters.
        multiply_adds: of its convolutions and matrix products for one image of `input.size`; papers
            call them FLOPs.
        classes: number of classes.
        dataset: what the weights were trained on and `metric` is measured with.
        metric: what the files' accuracies are, e.g. `top-1`, `AP50` or `mIoU`.
        license: of the weights, as far as their publisher states it.
        homepage: where the model was published.
        note: what a user should know.
        notice: what a user must be told before the first answer; None where there is nothing.
        input: the preprocessing that the accuracies belong to.
        bundled: the ONNX file inside the package; None where the model is not bundled.
        checkpoints: official checkpoints to export the model from.
    """

    name: str
    family: str
    variant: str
    task: str
    parameters: int
    multiply_adds: int
    classes: int
    dataset: str
    metric: str
    license: str
    homepage: str
    note: str
    notice: str | None
    input: InputSpec
    bundled: ZooFile | None
    checkpoints: tuple[ZooFile, ...]

    def __post_init__(self) -> None:
        for name in ("parameters", "multiply_adds", "classes"):
            require_count(name, getattr(self, name))
        require(
            self.bundled or self.checkpoints,
            "bundled is null and checkpoints is empty: there is neither a file nor a checkpoint",
        )

    @property
    def file(self) -> Path:
        """Where its ONNX file is, or would be: inside the package or in `models_dir()`."""
        return ASSETS / self.bundled.source if self.bundled else models_dir() / f"{self.name}.onnx"

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain values that `json.dumps` takes, by name."""
        return asdict(self)


def find_model(model: str | os.PathLike[str] | None) -> Path:
    """Find a model's file.

    Args:
        model: an ONNX file, a zoo name, or None for the bundled classifier.

    Raises:
        ModelNotFoundError: if it is not there; says how to get it.
    """
    if model is None:
        return ASSETS / f"{next(iter(BUNDLED.values()))}.onnx"
    path = Path(model)
    if path.is_file():
        return path
    # A name may look like a file's, as `litv2_s_alpha0.5` does.
    if isinstance(model, str) and path.name == model and (not path.suffix or model in load_zoo()):
        return _file_of(model)
    raise ModelNotFoundError(f"there is no model file {str(path)!r}")


def models_dir() -> Path:
    """Folder where a zoo name is looked for: `<name>.onnx`."""
    return cache_dir() / "models"


@lru_cache(maxsize=1)
def load_zoo() -> dict[str, ZooEntry]:
    """Read `model_zoo.yaml`.

    Returns:
        Entries by name, in the file's order.

    Raises:
        ZooError: if the file is damaged.
    """
    from edgevit.core.model.yaml_file import read_yaml  # PyYAML costs a start 15 ms

    try:
        return zoo_from_data(read_yaml(_zoo_path()))
    except SpecError as exc:
        raise ZooError(f"the model zoo is damaged: {exc}") from exc


def zoo_from_data(data: object) -> dict[str, ZooEntry]:
    """Check the zoo's data against its schema.

    Raises:
        ZooError: naming the entry and the key that is wrong.
    """
    if not isinstance(data, dict) or set(data) != {"schema", "models"} or data["schema"] != SCHEMA:
        raise ZooError(f"the model zoo must be a mapping of `schema: {SCHEMA}` and `models`")
    if not isinstance(data["models"], list):
        raise ZooError("`models` must be a list")
    entries = [_entry_from(record) for record in data["models"]]
    zoo = {entry.name: entry for entry in entries}
    if len(zoo) != len(entries):
        raise ZooError("two models of the zoo have the same name")
    return zoo


def zoo_entry(name: str) -> ZooEntry:
    """Look an entry up.

    Raises:
        ZooError: if there is none of that name; suggests the closest.
    """
    zoo = load_zoo()
    if name not in zoo:
        listed = ", ".join(zoo)
        raise ZooError(f"the zoo has no model {name!r}{suggestion(name, zoo)}; it has {listed}")
    return zoo[name]


def _file_of(name: str) -> Path:
    try:
        entry = zoo_entry(name)
    except ZooError as exc:
        raise ModelNotFoundError(f"there is no model file {name!r}, and {exc}") from exc
    if not entry.file.is_file():
        raise ModelNotFoundError(how_to_get(entry))
    return entry.file


def how_to_get(entry: ZooEntry) -> str:
    """Say how a user comes by a model that is not bundled."""
    sources = " or ".join(checkpoint.source for checkpoint in entry.checkpoints)
    return (
        f"{entry.name!r} is in the model zoo, but its file {str(entry.file)!r} is not there yet. "
        f"Download the official checkpoint ({sources}), then, where PyTorch is installed: "
        f"mkdir -p {str(models_dir())!r} && edgevit export {entry.variant} "
        f"--checkpoint CHECKPOINT --output {str(entry.file)!r}"
    )


def _entry_from(record: object) -> ZooEntry:
    name = record.get("name", "?") if isinstance(record, dict) else "?"
    try:
        return parse(ZooEntry, record, f"models[{shown(name)}]")
    except SpecError as exc:
        raise ZooError(f"the model zoo is damaged: {exc}") from exc


def _zoo_path() -> Path:
    """In an installed package the zoo lies inside it, in a source tree beside it."""
    installed = PACKAGE / "model_zoo.yaml"
    return installed if installed.is_file() else PACKAGE.parent / "model_zoo.yaml"
