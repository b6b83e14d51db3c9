import copy
import hashlib

import pytest
from documents import mutated
from hypothesis import given

from edgevit.core.model.metadata import read_metadata, read_multiply_adds
from edgevit.core.model.spec import ModelSpec
from edgevit.core.model.yaml_file import read_yaml
from edgevit.errors import ModelNotFoundError, ZooError
from edgevit.zoo import BUNDLED, find_model, load_zoo, models_dir, zoo_entry, zoo_from_data

ENTRY = {
    "name": "tiny",
    "family": "tiny",
    "variant": "tiny",
    "task": "classify",
    "parameters": 9,
    "multiply_adds": 9,
    "classes": 3,
    "dataset": "none",
    "metric": "top-1",
    "license": "Apache-2.0",
    "homepage": "https://example.org",
    "note": "",
    "notice": None,
    "input": {
        "size": [8, 8],
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "interpolation": "bicubic",
        "resize": "shorter",
        "crop_pct": 1.0,
        "pad_value": 0,
        "color_order": "rgb",
        "preprocess": "exact",
    },
    "bundled": None,
    "checkpoints": [{"source": "https://example.org/tiny.pth", "sha256": None, "accuracy": 50.0}],
}


def zoo_with(**changes):
    return zoo_from_data({"schema": 2, "models": [{**copy.deepcopy(ENTRY), **changes}]})


def test_a_sound_entry_is_read():
    assert zoo_with()["tiny"].checkpoints[0].accuracy == 50.0


def test_an_empty_zoo_is_a_zoo():
    assert zoo_from_data({"schema": 2, "models": []}) == {}


@pytest.mark.parametrize(
    "data", [None, [], {}, {"schema": 1, "models": []}, {"schema": 2, "models": 3}]
)
def test_data_of_another_form_is_refused(data):
    with pytest.raises(ZooError, match=r"the model zoo must|must be a list"):
        zoo_from_data(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"license": None}, "license must be a text"),
        ({"notice": 1}, "notice must be a text or null"),
        ({"parameters": 0}, "parameters must be a whole number"),
        ({"multiply_adds": 0.5}, "multiply_adds must be a whole number"),
        ({"checkpoints": []}, "neither a file nor a checkpoint"),
        ({"checkpoints": 3}, "must be a list, not 3"),
        (
            {"checkpoints": [{"source": "x", "sha256": "ab", "accuracy": 1.0}]},
            "64 hex digits or null",
        ),
        ({"checkpoints": [{"source": "x", "accuracy": 1.0}]}, "lacks the key 'sha256'"),
        ({"input": {**ENTRY["input"], "std": [1, 0, 1]}}, "input.std"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_entry_is_refused_by_name(changes, message):
    with pytest.raises(ZooError, match=f"'tiny'.*{message}"):
        zoo_with(**changes)


@given(mutated(ENTRY))
def test_any_value_in_any_place_is_read_or_refused(entry):
    try:
        zoo_from_data({"schema": 2, "models": [entry]})
    except ZooError as exc:
        assert str(exc).isprintable()


def test_entries_survive_being_written():
    zoo = load_zoo()
    data = {"schema": 2, "models": [entry.to_dict() for entry in zoo.values()]}
    assert zoo_from_data(data) == zoo


def test_two_entries_of_one_name_are_refused():
    with pytest.raises(ZooError, match="same name"):
        zoo_from_data({"schema": 2, "models": [ENTRY, ENTRY]})


def test_the_shipped_zoo_has_the_official_classifiers():
    zoo = load_zoo()
    assert {f"cas_vit_{size}" for size in ("xs", "s", "m", "t")} < set(zoo)
    assert {f"lightvit_{size}" for size in ("tiny", "small", "base")} < set(zoo)
    assert {f"litv2_{size}" for size in ("s", "m", "b", "b_384")} < set(zoo)
    assert {f"litv2_s_alpha{alpha}" for alpha in (0.0, 0.2, 0.4, 0.5, 0.7, 1.0)} < set(zoo)
    assert all(file.sha256 is None for name in zoo for file in zoo[name].checkpoints)


@pytest.mark.parametrize("task", BUNDLED)
def test_the_bundled_files_are_those_the_zoo_describes(task):
    entry = zoo_entry(BUNDLED[task])
    content = entry.file.read_bytes()
    metadata = read_metadata(entry.file)
    spec = ModelSpec.from_json(metadata["edgevit.spec"])

    assert hashlib.sha256(content).hexdigest() == entry.bundled.sha256
    assert len(content) < 8 * 2**20
    assert (spec.name, spec.task, len(spec.class_names)) == (entry.name, task, entry.classes)
    assert spec.input == entry.input
    assert read_multiply_adds(entry.file) == entry.multiply_adds
    assert entry.file.with_suffix(".md").is_file()


def test_no_model_means_the_bundled_one():
    assert find_model(None) == zoo_entry("cas_vit_xs_cifar10").file


def test_a_zoo_name_finds_the_file_in_the_models_folder():
    path = models_dir() / "cas_vit_s.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"any")
    assert find_model("cas_vit_s") == path


def test_a_zoo_name_with_a_dot_is_a_name():
    with pytest.raises(ModelNotFoundError, match=r"edgevit export litv2_s_alpha0\.5 --checkpoint"):
        find_model("litv2_s_alpha0.5")


def test_an_absent_file_is_not_looked_up_in_the_zoo():
    with pytest.raises(ModelNotFoundError, match=r"^there is no model file 'cas_vit_x\.onnx'$"):
        find_model("cas_vit_x.onnx")


def test_an_unknown_name_suggests_the_closest():
    with pytest.raises(
        ModelNotFoundError, match=r"no model file 'cas_vit_x'.*did you mean 'cas_vit_"
    ):
        find_model("cas_vit_x")


def test_the_yaml_file_is_plain_data(request):
    path = request.config.rootpath / "model_zoo.yaml"
    assert read_yaml(path)["schema"] == 2
