import copy
import dataclasses
import json

import numpy as np
import pytest
from documents import mutated, with_other_keys
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgevit import InputSpec, ModelSpec
from edgevit.core.model.heads import (
    AnchorGrid,
    AnchorHead,
    BoxHead,
    Coder,
    MapHead,
    Selection,
)
from edgevit.core.model.metadata import read_metadata
from edgevit.core.model.spec import (
    COLOR_ORDERS,
    INTERPOLATIONS,
    METADATA_KEY,
    PREPROCESS_MODES,
    Provenance,
)
from edgevit.core.model.task import parse_head
from edgevit.core.model.test_vector import Samples, TestVector
from edgevit.core.model.yaml_file import read_yaml
from edgevit.errors import SpecError
from edgevit.zoo import ASSETS, BUNDLED

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

BUNDLED_TEXTS = [read_metadata(ASSETS / f"{name}.onnx")[METADATA_KEY] for name in BUNDLED.values()]
BUNDLED_DOCUMENTS = [json.loads(text) for text in BUNDLED_TEXTS]


def without_free_keys(document):
    """A spec's document in which every key of every mapping is named by the schema."""
    return {**document, "test_vector": {**document["test_vector"], "outputs": {}}}


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
        ((), "class_names", [1], r"spec\.class_names\[0\] must be a text, not 1"),
        ((), "head", [], "head must be a mapping"),
        ((), "input", 7, "input must be a mapping, not int"),
        (("input",), "size", [0, 2], r"spec\.input\.size must be 2 whole numbers from 1 up"),
        (("input",), "size", [2.0, 2], r"input\.size\[0\] must be a whole number, not 2\.0"),
        (("input",), "size", [2], r"input\.size must be a list of 2, not \[2\]"),
        (("input",), "mean", [0, 0, None], r"input\.mean\[2\] must be a number, not None"),
        (("input",), "std", [1, 0, 1], r"input\.std must be 3 positive numbers"),
        (("input",), "std", [1, True, 1], r"input\.std\[1\] must be a number, not True"),
        (("input",), "interpolation", "nearest", "must be one of bicubic"),
        (("input",), "resize", "crop", "must be one of shorter, stretch, letterbox"),
        (("input",), "crop_pct", 0, r"crop_pct must be in \(0, 1\]"),
        (("input",), "crop_pct", 0.5, "crop_pct must be 1 with resize 'stretch'"),
        (("input",), "pad_value", 256, "pad_value must be a whole number"),
        (("input",), "color_order", "hsv", "color_order must be one of rgb, bgr"),
        (("input",), "preprocess", "slow", "preprocess must be one of exact, fast"),
        (("provenance",), "exporter", None, "provenance.exporter must be a text"),
        (("provenance",), "weights", 3, r"provenance\.weights must be a text or null"),
        (("provenance",), "precision", 16, "provenance.precision must be a text"),
        (("test_vector",), "tolerance", 0, r"tolerance must be in \(0, 1\)"),
        (("test_vector",), "tolerance", "1", r"tolerance must be a number"),
        (("test_vector",), "outputs", [], "test_vector.outputs must be a mapping"),
        (("test_vector", "image"), "size", [9, 9], "holds 18 bytes"),
        (("test_vector", "image"), "size", [-1, 9], r"image\.size must be 2 whole numbers"),
        (("test_vector", "image"), "bgr", "%%%", "is not base64"),
        (("test_vector", "image"), "bgr", 5, "is not base64"),
        (("test_vector", "batch"), "stride", 0, "stride must be a whole number from 1 up"),
        (("test_vector", "batch"), "shape", [1, 3, 9, 9], "holds 12 values, not 243"),
        (("test_vector", "batch"), "shape", "1", "shape must be a list"),
        (("test_vector", "batch"), "shape", [2**32] * 2, "12 values, not 18446744073709551616"),
        (("test_vector", "batch"), "shape", [1] * 65, "shape must be up to 64 whole numbers"),
        (("test_vector", "batch"), "values", "AAAA", "holds 3 bytes, which are no float32"),
        (("test_vector",), "outputs", {"\ud800": None}, r"outputs\['\\ud800'\] must be a mapping"),
        (("input",), "mean", [10**400, 0, 0], r"mean must be 3 finite numbers, not \(a whole"),
        (("input",), "mean", [0, 0, float("nan")], r"3 finite numbers, not \(0, 0, nan\)"),
        ((), "class_names", ["a", "\ud800"], r"class_names\[1\] must be Unicode text"),
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


@given(st.sampled_from(BUNDLED_DOCUMENTS).flatmap(mutated))
def test_any_value_in_any_place_is_read_or_refused(document):
    try:
        ModelSpec.from_json(json.dumps(document))
    except SpecError as exc:
        assert str(exc).isprintable()


@given(st.sampled_from(BUNDLED_DOCUMENTS).map(without_free_keys).flatmap(with_other_keys))
def test_a_key_too_many_or_too_few_is_refused_in_any_place(document):
    with pytest.raises(SpecError, match=r"unknown key|lacks the key"):
        ModelSpec.from_json(json.dumps(document))


@pytest.mark.parametrize("text", BUNDLED_TEXTS, ids=BUNDLED)
def test_a_spec_that_was_exported_before_is_written_as_it_was(text):
    assert ModelSpec.from_json(text).to_json() == text


counts = st.integers(1, 10**30)
shares = st.floats(0, 1)
sides = st.integers(1, 4)
names = st.text(min_size=1)
finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
positive = finite.filter(lambda value: value > 0)
inputs = st.builds(
    InputSpec,
    size=st.tuples(counts, counts),
    mean=st.tuples(finite, finite, finite),
    std=st.tuples(positive, positive, positive),
    interpolation=st.sampled_from(INTERPOLATIONS),
    resize=st.just("shorter"),
    crop_pct=st.floats(0, 1, exclude_min=True),
    pad_value=st.integers(0, 255),
    color_order=st.sampled_from(COLOR_ORDERS),
    preprocess=st.sampled_from(PREPROCESS_MODES),
)
selections = st.builds(Selection, shares, shares, st.booleans(), counts)
heads = st.one_of(
    st.tuples(st.just("classify"), st.just({})),
    st.tuples(
        st.just("segment"), st.builds(MapHead, st.sampled_from(["logits", "classes"]), counts)
    ),
    st.tuples(st.just("detect"), st.builds(BoxHead, selections, st.none() | shares)),
    st.tuples(
        st.just("detect"),
        st.builds(
            AnchorHead,
            st.builds(
                AnchorGrid,
                *(
                    st.lists(numbers, min_size=1).map(tuple)
                    for numbers in (counts, positive, positive)
                ),
            ),
            st.builds(
                Coder,
                st.tuples(finite, finite, finite, finite),
                st.tuples(positive, positive, positive, positive),
                positive,
            ),
            counts,
            selections,
        ),
    ),
)
samples = st.builds(
    Samples.of, arrays(np.float32, st.lists(st.integers(0, 4), max_size=4).map(tuple)), counts
)
specs = st.builds(
    lambda head, **fields: ModelSpec(task=head[0], head=head[1] and head[1].to_dict(), **fields),
    head=heads,
    name=names,
    family=names,
    variant=names,
    input=inputs,
    class_names=st.lists(names, min_size=1).map(tuple),
    provenance=st.none() | st.builds(Provenance, exporter=names, precision=names),
    test_vector=st.none()
    | st.builds(
        TestVector,
        arrays(np.uint8, st.tuples(sides, sides, st.just(3))),
        samples,
        st.dictionaries(names, samples, max_size=2),
        st.floats(0, 1, exclude_min=True, exclude_max=True),
    ),
)


@given(specs)
def test_any_spec_survives_its_json(spec):
    text = spec.to_json()
    again = ModelSpec.from_json(text)
    assert (again.to_json(), again.input, again.provenance) == (text, spec.input, spec.provenance)
    assert parse_head(again.task, again.head) == parse_head(spec.task, spec.head)


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
        ("1: a\n1.0: b\n", r"'1\.0' occurs twice"),
        ("<<: {a: 1}\nc: 3\n", "merges"),
        ("a: !!float ''\n", "tags"),
        ("a: !!timestamp x\n", "tags"),
    ],
    ids=lambda value: value[:12],
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
