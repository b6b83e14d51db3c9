import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgevit import Classification, InputSpec, ModelSpec
from edgevit.core.classify import classification_from_logits, softmax
from edgevit.errors import InferenceError, InputError

SPEC = ModelSpec(
    "tiny", "tiny", "tiny", "classify", InputSpec((8, 8)), ("red", "green", "blue"), {}
)


def test_the_best_classes_come_first():
    result = classification_from_logits(np.array([1.0, 3.0, 2.0], np.float32), SPEC, top_k=2)
    assert result.class_names == ("green", "blue")
    assert result.class_ids.tolist() == [1, 2]
    assert result.scores.tolist() == pytest.approx([0.6652, 0.2447], abs=1e-4)


def test_equal_scores_keep_the_order_of_the_classes():
    result = classification_from_logits(np.zeros(3, np.float32), SPEC)
    assert result.class_names == SPEC.class_names


def test_asking_for_more_classes_than_there_are_gives_all():
    assert len(classification_from_logits(np.zeros(3, np.float32), SPEC, top_k=99)) == 3


@pytest.mark.parametrize("top_k", [0, -1, 1.5, True, "5"])
def test_an_unusable_top_k_is_refused(top_k):
    with pytest.raises(InputError, match="top_k must be a whole number from 1 up"):
        classification_from_logits(np.zeros(3, np.float32), SPEC, top_k=top_k)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(value):
    with pytest.raises(InferenceError, match="not finite"):
        softmax(np.array([0, value, 1], np.float32))


@given(arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e4, 1e4, width=32)))
def test_probabilities_sum_to_one(logits):
    assert softmax(logits).sum() == pytest.approx(1, abs=1e-5)


def test_a_result_owns_its_memory():
    logits = np.array([1.0, 3.0, 2.0], np.float32)
    result = classification_from_logits(logits, SPEC)
    before = result.scores.copy()
    logits[:] = 0
    assert np.array_equal(result.scores, before)


def test_a_result_becomes_json_and_text():
    result = classification_from_logits(np.array([0.0, 9.0, 0.0], np.float32), SPEC, top_k=1)
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
