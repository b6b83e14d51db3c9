import numpy as np
import pytest

from edgevit import InputSpec, ModelSpec
from edgevit.backend import TensorInfo, check_feeds
from edgevit.core.model.heads import (
    AnchorGrid,
    AnchorHead,
    BoxHead,
    Coder,
    MapHead,
    Selection,
    parse_head,
)
from edgevit.core.tasks.signature import check_signature
from edgevit.errors import InputError, SpecError
from edgevit.testing import FakeSession

IMAGE = ("image", "f4", (1, 3, 16, 16))
SCORES = ("scores", "f4", (1, 5))
BOXES = ("boxes", "f4", (1, 5, 4))
IDS = ("class_ids", "i8", (1, 5))
MASKS = ("masks", "f4", (1, 5, 28, 28))
LOGITS = ("logits", "f4", (1, 2, 4, 4))
CLASSES = ("classes", "i8", (1, 4, 4))
INDICES = ("indices", "i8", (1, 5))
DELTAS = ("deltas", "f4", (1, 5, 4))

ANCHOR_HEAD = AnchorHead(AnchorGrid((8,), (1.0,), (2.0,)), Coder(), 5, Selection()).to_dict()
BOX_HEAD = BoxHead(Selection()).to_dict()
MASK_HEAD = BoxHead(Selection(), 0.5).to_dict()


def infos(*rows):
    return [TensorInfo(name, np.dtype(dtype), shape) for name, dtype, shape in rows]


def check(task, head, *outputs, image=IMAGE, settings=()):
    session = FakeSession(infos(image, *settings), infos(*outputs), dict)
    spec = ModelSpec("tiny", "tiny", "tiny", task, InputSpec((16, 16)), ("cat", "dog"), head)
    return check_signature(session, spec, parse_head(task, head))


@pytest.mark.parametrize(
    ("task", "head", "outputs"),
    [
        ("classify", {}, [("anything", "f4", (1, 2))]),
        ("detect", ANCHOR_HEAD, [DELTAS, INDICES, SCORES]),
        ("detect", BOX_HEAD, [BOXES, SCORES, IDS]),
        ("detect", BOX_HEAD, [("boxes", "f4", (1, None, 4)), SCORES, IDS]),
        ("detect", MASK_HEAD, [BOXES, SCORES, IDS, MASKS]),
        ("segment", MapHead("logits", 4).to_dict(), [LOGITS]),
        ("segment", MapHead("classes", 4).to_dict(), [CLASSES]),
        ("segment", MapHead("classes", 5).to_dict(), [("classes", "u1", (1, 4, 4))]),
    ],
    ids=["classify", "anchors", "boxes", "free length", "masks", "logits", "classes", "rounded up"],
)
def test_a_graph_that_answers_what_the_head_reads_fits(task, head, outputs):
    signature = check(task, head, *outputs)
    assert signature.input == "image"
    assert {output.name for output in signature.outputs} == {name for name, _, _ in outputs}


@pytest.mark.parametrize(
    ("task", "head", "outputs", "message"),
    [
        ("classify", {}, [], "the graph's outputs: none"),
        ("classify", {}, [("a", "f4", (1, 3))], r"float32 \(1, 2\); .* 'a' float32 \(1, 3\)"),
        ("classify", {}, [("a", "f8", (1, 2))], r"'a' float64 \(1, 2\)"),
        ("detect", ANCHOR_HEAD, [BOXES, SCORES, IDS], "'indices' int64"),
        ("detect", BOX_HEAD, [BOXES, ("scores", "f4", (1, 6)), IDS], r"'scores' float32 \(1, K\)"),
        ("detect", BOX_HEAD, [BOXES, SCORES, IDS, MASKS], "'masks' float32"),
        ("detect", MASK_HEAD, [BOXES, SCORES, IDS], r"'masks' float32 \(1, M, m, n\)"),
        ("segment", MapHead("logits", 8).to_dict(), [LOGITS], r"'logits' float32 \(1, 2, 2, 2\)"),
        ("segment", MapHead("classes", 4).to_dict(), [LOGITS], r"'classes' integer \(1, 4, 4\)"),
    ],
    ids=[
        "none",
        "classes",
        "float64",
        "other head",
        "not parallel",
        "one more",
        "one less",
        "stride",
        "kind",
    ],
)
def test_another_graph_is_refused(task, head, outputs, message):
    with pytest.raises(SpecError, match=message):
        check(task, head, *outputs)


def test_another_input_is_refused():
    with pytest.raises(SpecError, match=r"one input float32 \(1, 3, 16, 16\); .* \(1, 3, 8, 8\)"):
        check("classify", {}, ("a", "f4", (1, 2)), image=("image", "f4", (1, 3, 8, 8)))


def test_a_graph_is_fed_the_settings_that_it_takes():
    settings = [("max_masks", "i8", (1,)), ("image_size", "f4", (2,))]
    signature = check("detect", BOX_HEAD, BOXES, SCORES, IDS, settings=settings)
    batch = np.zeros((1, 3, 16, 16), np.float32)
    for masks in (True, False):
        feeds = signature.feeds(batch, image_size=(9, 16), score_threshold=0.5, masks=masks)
        assert list(feeds) == ["image", "max_masks", "image_size"]
        assert feeds["image_size"].tolist() == [9, 16]
        assert (feeds["max_masks"] > 5) == masks
        session = FakeSession(infos(IMAGE, *settings), infos(BOXES), dict)
        assert check_feeds(session.inputs, feeds).keys() == feeds.keys()


def test_other_graphs_are_fed_the_batch_alone():
    signature = check("classify", {}, ("a", "f4", (1, 2)))
    batch = np.zeros((1, 3, 16, 16), np.float32)
    feeds = signature.feeds(batch, image_size=(9, 16), score_threshold=0.5, masks=True)
    assert feeds == {"image": batch}


@pytest.mark.parametrize(
    ("task", "head", "outputs", "setting"),
    [
        ("classify", {}, [("a", "f4", (1, 2))], ("image_size", "f4", (2,))),
        ("detect", BOX_HEAD, [BOXES, SCORES, IDS], ("image_size", "i8", (2,))),
        ("detect", BOX_HEAD, [BOXES, SCORES, IDS], ("max_masks", "i8", (2,))),
        ("detect", BOX_HEAD, [BOXES, SCORES, IDS], ("temperature", "f4", (1,))),
    ],
    ids=["other head", "dtype", "shape", "name"],
)
def test_other_settings_are_refused(task, head, outputs, setting):
    with pytest.raises(SpecError, match=f"the graph's inputs: .*'{setting[0]}'"):
        check(task, head, *outputs, settings=[setting])


def test_the_outputs_of_one_image_are_picked():
    signature = check("detect", BOX_HEAD, BOXES, SCORES, IDS)
    given = {name: np.zeros(shape, dtype) for name, dtype, shape in (BOXES, SCORES, IDS, MASKS)}
    assert list(signature.outputs_of(given)) == ["boxes", "scores", "class_ids"]


@pytest.mark.parametrize(
    "changes",
    [{"scores": np.zeros((2, 5), np.float32)}, {"scores": np.zeros((1, 4), np.float32)}],
    ids=["two images", "not parallel"],
)
def test_other_outputs_are_refused(changes):
    signature = check("detect", BOX_HEAD, BOXES, SCORES, IDS)
    given = {name: np.zeros(shape, dtype) for name, dtype, shape in (BOXES, SCORES, IDS)}
    with pytest.raises(InputError, match=r"outputs\[i:i \+ 1\]"):
        signature.outputs_of({**given, **changes})
    with pytest.raises(InputError, match=r"'boxes' float32 \(1, K, 4\).* was given \{\}"):
        signature.outputs_of({})
