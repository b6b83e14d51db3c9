import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from documents import json_values, mutated, with_other_keys
from hypothesis import given
from hypothesis import strategies as st

from edgevit.core.machine.fingerprint import Fingerprint, fingerprint
from edgevit.core.runtime.profile import (
    SCHEMA,
    Profile,
    QuickFingerprint,
    find_profile,
    stamp,
    write_profile,
)
from edgevit.errors import SpecError
from edgevit.predictor import Predictor

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture
def model(tiny, tmp_path):
    return Path(shutil.copy(tiny, tmp_path / "model.onnx"))


@pytest.fixture
def profile(model):
    return Profile(
        schema=SCHEMA,
        model=stamp(model),
        file=stamp(model),
        precision="fp32",
        backend="onnxruntime",
        device="cpu",
        threads=1,
        preprocess="fast",
        options={"config": {"session.intra_op.allow_spinning": "0"}},
        says="model fp32 on onnxruntime (p95 1.00 ms)",
        recommends=None,
        made="2026-01-01 00:00 UTC",
        surroundings=QuickFingerprint.now(),
        fingerprint=fingerprint().to_dict(),
        evidence={},
    )


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "edgevit.core.runtime.profile")
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.name == "edgevit.core.runtime.profile"
    ]


def load(model, **arguments):
    with Predictor(model, **arguments) as predictor:
        return predictor


def test_a_profile_comes_back_as_it_was_written(profile, model):
    path = write_profile(profile)
    found = find_profile(model)
    assert (found.path, found.problem) == (path, None)
    assert found.profile.to_json() == profile.to_json()


def test_a_matching_profile_is_obeyed_and_said_in_one_line(profile, model, said):
    path = write_profile(profile)
    predictor = load(model)
    assert (predictor.backend, predictor.preprocess_mode) == ("onnxruntime", "fast")
    assert predictor.path == model
    assert said() == [
        f"backend auto: model fp32 on onnxruntime (p95 1.00 ms), by the device profile {path}"
    ]


def test_explicit_arguments_win(profile, model, said, monkeypatch):
    loads = []
    backend = "edgevit_onnxruntime.OnnxRuntimeBackend.load"
    real = __import__("edgevit_onnxruntime").OnnxRuntimeBackend.load

    def load_and_remember(self, path, *, device, options):
        loads.append(options)
        return real(self, path, device=device, options=options)

    monkeypatch.setattr(backend, load_and_remember)
    write_profile(profile)
    assert load(model, threads=2, preprocess="exact").preprocess_mode == "exact"
    load(model, backend="onnxruntime")
    assert [options.get("threads") for options in loads] == [2, None]
    assert len(said()) == 1  # a named backend asks for no profile


def test_a_recommended_model_is_named_and_not_taken(profile, model, said):
    write_profile(replace(profile, recommends="other.onnx"))
    assert load(model).path == model
    assert said()[0].endswith("; 'other.onnx' was better")


def test_a_converted_file_is_run_in_the_models_place_if_it_is_the_one(profile, model, said):
    converted = Path(shutil.copy(model, model.with_name("converted.onnx")))
    with converted.open("ab") as file:
        file.write(b"\x32\x01x")  # a doc_string: another file of the same meaning
    write_profile(replace(profile, file=stamp(converted)))
    assert load(model).path == converted
    with converted.open("ab") as file:
        file.write(b"\x32\x01y")
    assert load(model).path == model
    assert "that it chose is gone or another one" in said()[-1]


def test_a_copy_of_the_model_is_the_same_model(profile, model):
    write_profile(profile)
    copy = Path(shutil.copy(model, model.with_name("copy.onnx")))
    model.unlink()
    assert load(copy).preprocess_mode == "fast"


def change_hardware(profile):
    return replace(
        profile,
        surroundings=replace(profile.surroundings, cores=77),
        fingerprint={**profile.fingerprint, "cores": 77},
    )


def change_libraries(profile):
    packages = {**profile.fingerprint["packages"], "onnxruntime": "0.1"}
    return replace(
        profile,
        surroundings=replace(profile.surroundings, packages={}),
        fingerprint={**profile.fingerprint, "packages": packages},
    )


@pytest.mark.parametrize(
    ("change", "arguments", "reason"),
    [
        pytest.param(change_hardware, {}, "measured with cores: 77, here", id="hardware"),
        pytest.param(change_libraries, {}, "with onnxruntime: 0.1, here", id="libraries"),
        pytest.param(
            lambda p: replace(p, backend="gone"), {}, "'gone' is not registered", id="backend"
        ),
        pytest.param(
            lambda p: replace(p, device="npu"), {}, "has no device 'npu' here", id="device"
        ),
        pytest.param(lambda p: p, {"device": "x"}, "is for device 'cpu', not 'x'", id="asked"),
        pytest.param(lambda p: p, {"options": {"a": 1}}, "name that as well", id="options"),
    ],
)
def test_other_circumstances_are_a_reason_to_ignore_it(
    profile, model, said, change, arguments, reason
):
    from edgevit.core.runtime.profile import obey_profile
    from edgevit.core.runtime.settings import Settings

    write_profile(change(profile))
    asked = Settings(model, **arguments)
    assert obey_profile(asked) is asked
    assert len(said()) == 1
    assert reason in said()[0]


def test_another_spec_or_another_model_is_a_reason_too(profile, model, said):
    write_profile(profile)
    predictor = load(model, spec=load(model, backend="onnxruntime").spec)
    assert predictor.preprocess_mode == "exact"
    assert "with the file's own spec" in said()[-1]
    with model.open("ab") as file:
        file.write(b"\x32\x01x")
    assert load(model).preprocess_mode == "exact"
    assert "it is for another model than" in said()[-1]


def test_a_same_size_file_in_the_models_place_is_noticed(profile, model):
    write_profile(profile)
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    os.utime(model, ns=(profile.model.modified_ns,) * 2)
    assert find_profile(model).problem is not None


def test_installing_something_else_does_not_matter(profile, model):
    surroundings = replace(profile.surroundings, packages={"nowhere": 1})
    write_profile(replace(profile, surroundings=surroundings))
    assert load(model).preprocess_mode == "fast"


def test_tuning_again_replaces_the_profile(profile, model):
    write_profile(profile)
    with model.open("ab") as file:
        file.write(b"\x32\x01x")
    path = write_profile(replace(profile, model=stamp(model), preprocess="exact"))
    assert [path] == list(path.parent.iterdir())


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"schema": 2}', '{"schema": 1}', "[" * 100_000, "\udcff"],
    ids=lambda text: ascii(text[:15]),
)
def test_a_damaged_profile_is_a_warning_and_no_more(profile, model, caplog, text):
    write_profile(profile).write_bytes(text.encode(errors="surrogateescape"))
    assert load(model).path == model
    assert "is not usable" in caplog.text
    with pytest.raises(SpecError):
        Profile.from_json(text)


values = st.dictionaries(st.text(), json_values, max_size=2)
versions = st.dictionaries(st.text(), st.text(), max_size=2)
stamps = st.dictionaries(st.text(), st.integers(), max_size=2)
profiles = st.builds(
    Profile,
    schema=st.just(SCHEMA),
    options=values,
    surroundings=st.builds(QuickFingerprint, packages=stamps),
    fingerprint=st.builds(Fingerprint, packages=versions).map(Fingerprint.to_dict),
    evidence=values,
)


@given(profiles)
def test_any_profile_survives_its_json(profile):
    again = Profile.from_json(profile.to_json())
    assert again.to_json() == profile.to_json()
    assert Fingerprint.from_dict(again.fingerprint) == Fingerprint.from_dict(profile.fingerprint)


DOCUMENT = {
    "schema": SCHEMA,
    "model": (whole := {"path": "a", "size": 1, "modified_ns": 1, "changed_ns": 1, "sha256": "b"}),
    "file": whole,
    "precision": "fp32",
    "backend": "onnxruntime",
    "device": "cpu",
    "threads": None,
    "preprocess": "exact",
    "options": {},
    "says": "",
    "recommends": None,
    "made": "",
    "surroundings": {"cpu": "c", "cores": 1, "processors": 2, "packages": {}},
    "fingerprint": {},
    "evidence": {},
}


@given(mutated(DOCUMENT))
def test_any_value_in_any_place_is_read_or_refused(document):
    try:
        Profile.from_json(json.dumps(document))
    except SpecError as exc:
        assert str(exc).isprintable()


@given(with_other_keys(DOCUMENT))
def test_a_key_too_many_or_too_few_is_refused(document):
    with pytest.raises(SpecError, match=r"unknown key|lacks the key|has schema"):
        Profile.from_json(json.dumps(document))


def test_profiles_are_plain_json(profile):
    assert json.loads(write_profile(profile).read_text())["model"]["sha256"] == profile.model.sha256


def test_without_profiles_nothing_is_read(model, said, monkeypatch):
    monkeypatch.setattr("edgevit.core.runtime.profile.find_profile", lambda path: 1 / 0)
    assert load(model).path == model
    assert said() == []
