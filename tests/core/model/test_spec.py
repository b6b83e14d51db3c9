import copy
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevit import InputSpec, ModelSpec
from edgevit.core.model.spec import Provenance
from edgevit.core.model.test_vector import Samples, TestVector
from edgevit.core.model.yaml_file import read_yaml
from edgevit.errors import SpecError

IMAGE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
BATCH = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 2, 2)
SPEC = ModelSpec(
    name="tiny",
    family="tiny",
    variant="tiny_s",
    task="classify",
    input=InputSpec((2, 2), resize="stretch", crop_pct=1.0),
    class_names=("crane", "crane", "größe 中"),
    head={},
    provenance=Provenance("ab" * 32, "ema", "a test"),
    test_vector=TestVector(IMAGE, Samples.of(BATCH), {"logits": Samples.of(BATCH[0, 0])}),
)
DOCUMENT = SPEC.to_dict()

PATHS = [
    (),
    ("input",),
    ("provenance",),
    ("test_vector",),
    ("test_vector", "image"),
    ("test_vector", "batch"),
    ("test_vector", "outputs", "logits"),
]


def at(document, path):
    for key in path:
        document = document[key]
    return document


def test_a_spec_survives_its_json():
    again = ModelSpec.from_json(SPEC.to_json())
    assert again.to_dict() == DOCUMENT
    assert np.array_equal(again.test_vector.image, IMAGE)


def test_a_spec_without_provenance_and_test_vector_survives():
    bare = ModelSpec.from_dict({**DOCUMENT, "provenance": None, "test_vector": None})
    assert ModelSpec.from_json(bare.to_json()).to_dict() == bare.to_dict()


def test_another_precision_and_tolerance_survive():
    provenance = dataclasses.replace(SPEC.provenance, precision="fp16")
    vector = dataclasses.replace(SPEC.test_vector, tolerance=0.005)
    spec = dataclasses.replace(SPEC, provenance=provenance, test_vector=vector)
    again = ModelSpec.from_json(spec.to_json())
    assert (again.provenance.precision, again.test_vector.tolerance) == ("fp16", 0.005)


def test_a_spec_that_does_not_name_them_is_of_float32():
    assert "precision" not in DOCUMENT["provenance"]
    assert "tolerance" not in DOCUMENT["test_vector"]
    spec = ModelSpec.from_dict(DOCUMENT)
    assert (spec.provenance.precision, spec.test_vector.tolerance) == ("fp32", 1e-3)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(path) or "top")
def test_an_unknown_key_is_refused(path):
    document = copy.deepcopy(DOCUMENT)
    at(document, path)["surprise"] = 1
    with pytest.raises(SpecError, match="unknown key 'surprise'"):
        ModelSpec.from_dict(document)


@pytest.mark.parametrize(
    ("path", "key"),
    [(path, key) for path in PATHS for key in at(DOCUMENT, path)],
    ids=lambda value: value if isinstance(value, str) else ".".join(value) or "top",
)
def test_a_missing_key_is_refused(path, key):
    document = copy.deepcopy(DOCUMENT)
    del at(document, path)[key]
    with pytest.raises(SpecError, match=f"lacks the key '{key}'"):
        ModelSpec.from_dict(document)


@pytest.mark.parametrize(
    ("path", "key", "value", "message"),
    [
        ((), "schema", 2, "schema 2, this edgevit reads up to 1; upgrade"),
        ((), "schema", "1", "schema must be a whole number"),
        ((), "schema", 0, "schema must be from 1"),
        ((), "name", "", "name must be a text"),
        ((), "task", "caption", "task must be one of classify, detect, segment"),
        ((), "class_names", [], "class_names must be a list of one or more texts"),
        ((), "class_names", "cat", "class_names must be a list"),
        ((), "class_names", [1], "class_names must be a list of one or more texts"),
        ((), "head", [], "head must be a mapping"),
        ((), "input", 7, "input must be a mapping, not int"),
        (("input",), "size", [0, 2], "input.size must be 2 fitting numbers"),
        (("input",), "size", [2.0, 2], "input.size must be 2 fitting numbers"),
        (("input",), "size", [2], "input.size must be 2 fitting numbers"),
        (("input",), "mean", [0, 0, None], "input.mean must be 3 fitting numbers"),
        (("input",), "std", [1, 0, 1], "input.std must be 3 fitting numbers"),
        (("input",), "std", [1, True, 1], "input.std must be 3 fitting numbers"),
        (("input",), "interpolation", "nearest", "must be one of bicubic"),
        (("input",), "resize", "crop", "must be one of shorter, stretch, letterbox"),
        (("input",), "crop_pct", 0, r"crop_pct must be in \(0, 1\]"),
        (("input",), "crop_pct", 0.5, "crop_pct must be 1 with resize 'stretch'"),
        (("input",), "pad_value", 256, "pad_value must be a whole number"),
        (("input",), "color_order", "hsv", "color_order must be one of rgb, bgr"),
        (("input",), "preprocess", "slow", "preprocess must be one of exact, fast"),
        (("provenance",), "exporter", None, "provenance.exporter must be a text"),
        (("provenance",), "weights", 3, "provenance.weights must be text or null"),
        (("provenance",), "precision", 16, "provenance.precision must be a text"),
        (("test_vector",), "tolerance", 0, r"tolerance must be in \(0, 1\)"),
        (("test_vector",), "tolerance", "1", r"tolerance must be in \(0, 1\)"),
        (("test_vector",), "outputs", [], "test_vector.outputs must be a mapping"),
        (("test_vector", "image"), "size", [9, 9], "holds 18 bytes"),
        (("test_vector", "image"), "size", [-1, 9], "fitting numbers"),
        (("test_vector", "image"), "bgr", "%%%", "is not base64"),
        (("test_vector", "image"), "bgr", 5, "is not base64"),
        (("test_vector", "batch"), "stride", 0, "stride must be positive"),
        (("test_vector", "batch"), "shape", [1, 3, 9, 9], "holds 12 values, not 243"),
        (("test_vector", "batch"), "shape", "1", "shape must be a list"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_value_is_refused(path, key, value, message):
    document = copy.deepcopy(DOCUMENT)
    at(document, path)[key] = value
    with pytest.raises(SpecError, match=message):
        ModelSpec.from_dict(document)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '"text"', "[" * 100000], ids=lambda t: t[:5])
def test_text_that_is_no_spec_is_refused(text):
    with pytest.raises(SpecError, match=r"not JSON|must be a mapping|lacks the key"):
        ModelSpec.from_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(path=st.sampled_from(PATHS), value=json_values, data=st.data())
def test_any_value_in_any_place_is_read_or_refused(path, value, data):
    document = copy.deepcopy(DOCUMENT)
    place = at(document, path)
    place[data.draw(st.sampled_from(sorted(place)))] = value
    try:
        ModelSpec.from_json(json.dumps(document))
    except SpecError as exc:
        assert str(exc)


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40)),
    limit=st.integers(1, 500),
)
def test_samples_stay_within_their_limit_and_fit_their_array(shape, limit):
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    samples = Samples.of(array, limit)
    assert samples.values.size <= limit
    assert samples.error(array) == 0
    assert samples.error(array + 1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("change", [np.nan, np.inf], ids=["nan", "inf"])
def test_samples_never_agree_with_what_is_not_finite(change):
    samples = Samples.of(np.zeros(4, np.float32))
    assert samples.error(np.full(4, change, np.float32)) == np.inf


def test_samples_never_agree_with_another_shape():
    assert Samples.of(np.zeros(4, np.float32)).error(np.zeros(5, np.float32)) == np.inf


def test_samples_of_class_ids_count_what_changed():
    samples = Samples.of(np.array([[3, 1, 4, 1]], np.int64))
    assert samples.changed(np.array([[3, 1, 4, 2]], np.int32)) == 0.25
    assert samples.changed(np.array([3, 1, 4, 1], np.int64)) == 1


def test_a_spec_is_read_from_yaml(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps(DOCUMENT, ensure_ascii=False), encoding="utf-8")
    assert ModelSpec.from_yaml(path).to_dict() == DOCUMENT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("a: 1\na: 2\n", "'a' occurs twice"),
        ("a: !!python/object/apply:os.getcwd []\n", "not plain YAML"),
        ("[" * 50 + "]" * 50, "nested deeper than 20"),
        ("a:\n\t- 1\n", "not plain YAML"),
        ("{[1]: 2}", "not plain YAML"),
    ],
    ids=["alias", "duplicate", "tag", "depth", "tab", "key"],
)
def test_yaml_that_is_not_plain_is_refused(tmp_path, text, message):
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        read_yaml(path)


def test_an_absent_yaml_file_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"nowhere\.yaml.*cannot be read"):
        read_yaml(tmp_path / "nowhere.yaml")


def test_a_huge_yaml_file_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"a: 1\n" * 10**6)
    with pytest.raises(SpecError, match="larger than"):
        read_yaml(path)


def test_hostile_yaml_files_are_refused(bad_inputs):
    files = sorted((bad_inputs / "yaml").iterdir())
    assert files
    for path in files:
        with pytest.raises(SpecError):
            ModelSpec.from_yaml(path)
