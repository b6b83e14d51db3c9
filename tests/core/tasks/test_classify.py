import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgevit import Classification, InputSpec, ModelSpec
from edgevit.core.model.heads import ClassHead
from edgevit.core.tasks.classify import parameters, read
from edgevit.errors import InferenceError, InputError

SPEC = ModelSpec(
    "tiny", "tiny", "tiny", "classify", InputSpec((8, 8)), ("red", "green", "blue"), {}
)


def answer(logits, spec, **given):
    wanted = parameters(spec, ClassHead(), **given)
    return read({"logits": logits[None]}, None, spec=spec, head=ClassHead(), wanted=wanted)


def test_the_best_classes_come_first():
    result = answer(np.array([1.0, 3.0, 2.0], np.float32), SPEC, top_k=2)
    assert result.class_names == ("green", "blue")
    assert result.class_ids.tolist() == [1, 2]
    assert result.scores.tolist() == pytest.approx([0.6652, 0.2447], abs=1e-4)


def test_equal_scores_keep_the_order_of_the_classes():
    result = answer(np.zeros(3, np.float32), SPEC)
    assert result.class_names == SPEC.class_names


def test_asking_for_more_classes_than_there_are_gives_all():
    assert len(answer(np.zeros(3, np.float32), SPEC, top_k=99)) == 3


@pytest.mark.parametrize("top_k", [0, -1, 1.5, True, "5"])
def test_an_unusable_top_k_is_refused(top_k):
    with pytest.raises(InputError, match="top_k must be a whole number from 1 up"):
        answer(np.zeros(3, np.float32), SPEC, top_k=top_k)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(value):
    with pytest.raises(InferenceError, match="not finite"):
        answer(np.array([0, value, 1], np.float32), SPEC, top_k=1)


@given(
    arrays(np.float32, 3, elements=st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, 1.0])),
    st.integers(1, 4),
)
def test_answers_are_those_of_a_softmax_and_a_stable_sort(logits, top_k):
    result = answer(logits, SPEC, top_k=top_k)
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    expected = np.argsort(-logits, kind="stable")[:top_k]
    assert result.class_ids.tolist() == expected.tolist()
    assert result.class_ids.dtype == np.int64
    assert result.scores.dtype == np.float32
    expected_scores = (exponentials / exponentials.sum())[expected]
    np.testing.assert_allclose(result.scores, expected_scores, rtol=1e-5, atol=1e-12)


def test_a_thousand_classes_are_ranked_and_share_one():
    spec = replace(SPEC, class_names=tuple(map(str, range(1000))))
    logits = np.random.default_rng(0).normal(0, 3, 1000).astype(np.float32).round(1)  # many ties
    result = answer(logits, spec, top_k=1000)
    assert result.class_ids.tolist() == np.argsort(-logits, kind="stable").tolist()
    assert result.scores.sum() == pytest.approx(1, abs=1e-5)
    five = answer(logits, spec)
    assert five.class_ids.tolist() == result.class_ids[:5].tolist()
    assert np.array_equal(five.scores, result.scores[:5])


def test_a_result_owns_its_memory():
    logits = np.array([1.0, 3.0, 2.0], np.float32)
    result = answer(logits, SPEC)
    before = result.scores.copy()
    logits[:] = 0
    assert np.array_equal(result.scores, before)


def test_a_result_becomes_json_and_text():
    result = answer(np.array([0.0, 9.0, 0.0], np.float32), SPEC, top_k=1)
    document = json.loads(result.to_json())
    assert document == {
        "class_ids": [1],
        "class_names": ["green"],
        "scores": result.scores.tolist(),
    }
    assert str(result) == "green 100.0%"


def test_fields_that_are_not_parallel_are_refused():
    with pytest.raises(InputError, match="1 class_ids, 2 class_names"):
        Classification(np.zeros(1, np.int64), ("red", "blue"), np.zeros(1, np.float32), {})
