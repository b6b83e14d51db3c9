import pytest

from edgevit.core.cache.why import why_built

FACTS = {
    "files": {"": "abc", "weights.bin": "def"},
    "tensorrt": "10.3.0",
    "gpu": {"name": "Orin", "sm": 87},
    "options": {"threads": 2},
}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({}, "the cached model is gone", id="nothing"),
        pytest.param({"tensorrt": "10.16.1"}, "tensorrt 10.3.0 -> 10.16.1", id="version"),
        pytest.param({"gpu": {"name": "Thor", "sm": 87}}, "gpu name Orin -> Thor", id="hardware"),
        pytest.param({"options": {"threads": 4}}, "option threads 2 -> 4", id="option"),
        pytest.param({"options": {}}, "option threads 2 -> unset", id="option left out"),
        pytest.param(
            {"files": {"": "xyz", "weights.bin": "def"}}, "the model file changed", id="model"
        ),
        pytest.param(
            {"files": {"": "abc", "weights.bin": "x"}},
            "the weights weights.bin changed",
            id="weights",
        ),
        pytest.param({"tensorrt": "9" * 70}, f"tensorrt 10.3.0 -> {'9' * 60}...", id="long value"),
        pytest.param(
            {"gpu": {"name": "Thor", "sm": 101}, "tensorrt": "11", "options": {"threads": 4}},
            "gpu name Orin -> Thor, gpu sm 87 -> 101, option threads 2 -> 4, 1 more",
            id="many",
        ),
    ],
)
def test_reason_is_what_changed(changes, why):
    assert why_built({**FACTS, **changes}, [FACTS]) == why


def test_without_others_it_is_the_first():
    assert why_built(FACTS, []) == "first build"


def test_nearest_of_the_others_is_compared_and_the_newest_of_equals():
    far = {**FACTS, "tensorrt": "8", "options": {"threads": 8}}
    near = [{**FACTS, "options": {"threads": threads}} for threads in (3, 4)]
    assert why_built(FACTS, [far, *near]) == "option threads 3 -> 2"
