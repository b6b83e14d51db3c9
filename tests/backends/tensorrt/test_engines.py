"""Engines in the cache of compiled models, against fakes."""

import logging

import numpy as np
import pytest
from tensorrt_machine import ANSWER, answer, built, load

from edgevit.backend import CompiledCache
from edgevit.testing.models import CONVOLUTION


def test_second_load_builds_nothing(machine):
    made = machine()
    for _ in range(2):
        np.testing.assert_allclose(answer(load(made.backend())), ANSWER, rtol=1e-4)
    assert len(made.events("build")) == 1


def test_engine_is_a_raw_plan_beside_what_it_was_made_from(machine, folder):
    import json

    load(machine().backend(), workspace=2**20)
    (plan,), (sidecar,) = folder.glob("*.plan"), folder.glob("*.json")
    assert plan.read_bytes().startswith(b"fake plan")
    record = json.loads(sidecar.read_text())
    facts = record["facts"]
    assert set(facts) == {"files", "tensorrt", "cuda", "device", "hardware", "options"}
    assert (facts["tensorrt"], facts["cuda"]) == ("10.3.0", "12.6")
    assert facts["hardware"] == {"name": "Fake GPU", "compute_capability": "8.7"}
    assert facts["options"]["workspace"] == 2**20
    assert record["extras"]["inputs"][0]["name"] == "image"


def test_every_version_gpu_and_option_has_an_engine_of_its_own(machine):
    built(machine())
    built(machine(), tf32=True)
    built(machine(version="11.4.0"))
    built(machine(gpus=["Another GPU"]))
    assert len(built(machine(cuda=13000))) > 0
    assert len(machine().events("build")) == 5


def test_equal_gpus_share_an_engine(machine):
    made = machine(gpus=["L4", "L4", "A2"])
    backend = made.backend()
    for device in ("cuda:0", "cuda:1", "cuda:2"):
        np.testing.assert_allclose(answer(load(backend, device=device)), ANSWER, rtol=1e-4)
    assert len(made.events("build")) == 2


def test_damaged_engine_is_never_deserialized(machine, folder, caplog):
    made = machine()
    load(made.backend())
    (plan,) = folder.glob("*.plan")
    content = bytearray(plan.read_bytes())
    content[len(content) // 2] ^= 1
    plan.write_bytes(content)
    before = len(made.events("deserialize"))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(answer(load(made.backend())), ANSWER, rtol=1e-4)
    assert len(made.events("build")) == 2
    assert len(made.events("deserialize")) == before + 1  # the new one
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda plan: b"a plan of something else", "magicTagRead", id="no plan"),
        pytest.param(
            lambda plan: plan.replace(b'"10.3.0"', b'"10.3.1"'), "incompatible", id="version"
        ),
        pytest.param(
            lambda plan: plan.replace(b'"image"', b'"photo"'), "not the model's", id="model"
        ),
    ],
)
def test_engine_that_tensorrt_refuses_is_built_again(change, reason, machine, folder, caplog):
    backend = machine().backend()
    load(backend)
    (plan,) = folder.glob("*.plan")
    content, record = plan.read_bytes(), record_of(folder)
    cache = CompiledCache(folder, suffix=".plan")
    cache.discard(cache.find(record.facts))
    with cache.building(record.facts, CONVOLUTION.path) as build:
        build.store(change(content), record.extras)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(answer(load(backend)), ANSWER, rtol=1e-4)
    assert "TensorRT refuses the cached engine" in caplog.text
    assert reason in caplog.text
    assert plan.read_bytes() == content
    assert "refuses" in record_of(folder).why


def record_of(folder):
    from edgevit.core.cache.entry import read_record

    (sidecar,) = folder.glob("*.json")
    return read_record(sidecar)


def test_cache_may_be_turned_off(machine, folder, caplog):
    with caplog.at_level(logging.WARNING):
        session = load(machine().backend(), cache=False)
    np.testing.assert_allclose(answer(session), ANSWER, rtol=1e-4)
    assert not folder.exists()
    assert "is not kept: option 'cache' is false" in caplog.text
