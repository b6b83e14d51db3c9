"""Operators of detectors do what the modules do: in PyTorch, and in a graph on every runtime."""

from importlib.util import find_spec

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from torch import nn  # noqa: E402

from edgevit.core.runtime.registry import get_backend  # noqa: E402
from edgevit.export.deploy.mask_rcnn import OperatorNMS, OperatorRoIAlign  # noqa: E402
from edgevit.export.trace import graph_from_module  # noqa: E402
from edgevit.models.roi import NMS, RoIAlign  # noqa: E402

BACKENDS = [name for name in ("onnxruntime", "openvino") if find_spec(name)]
STRIDES = (4, 8, 16)
SIZE = (240, 320)
RANDOM = np.random.default_rng(2)
IMAGE = RANDOM.standard_normal((1, 3, *SIZE), np.float32)


class Cut(nn.Module):
    """Boxes out of maps that are means of the image."""

    def __init__(self, whole):
        super().__init__()
        self.whole = whole
        self.by_operator = OperatorRoIAlign(whole)

    def forward(self, image, boxes):
        levels = [nn.functional.avg_pool2d(image, stride) for stride in STRIDES]
        chosen = boxes[(boxes[:, 2] >= 0).nonzero()[:, 0]]  # so that their number is not known
        order, level_ids = self.by_operator.order(chosen)
        return self.by_operator(levels, chosen[order], level_ids)[order.argsort()]

    def expected(self, image, boxes):
        levels = [nn.functional.avg_pool2d(image, stride)[0] for stride in STRIDES]
        return self.whole(levels, boxes)


class Suppress(nn.Module):
    """The best 8 of 3 groups of 5 boxes; the image counts for nothing."""

    def __init__(self):
        super().__init__()
        self.whole, self.by_operator = NMS(0.5, 8), OperatorNMS(0.5, 8)

    def forward(self, image, boxes, scores):
        places, kept = self.by_operator(boxes, scores)
        return places, kept + 0 * image[0, 0, 0, 0]


def boxes_of_sides(*sides):
    """Boxes of about these sides somewhere in the image, the last ones at its border."""
    sides = np.array(sides, np.float32).reshape(-1, 1) * RANDOM.uniform(0.8, 1.2, (len(sides), 2))
    corners = RANDOM.uniform(0, 1, sides.shape) * (SIZE[::-1] - sides)
    corners[-2:] = (SIZE[::-1] - sides)[-2:]
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


BOXES = {
    "none": np.empty((0, 4), np.float32),
    "finest level": boxes_of_sides(3, 9, 30, 80),
    "all but one level": boxes_of_sides(5, 230, 50, 210),
    "every level": boxes_of_sides(150, 0.5, 220, 60, 140, 230, 20),
}
CROWD = RANDOM.uniform(0, 30, (3, 5, 2))
CROWD = np.concatenate([CROWD, CROWD + RANDOM.uniform(10, 40, (3, 5, 2))], axis=2).astype("f4")
SCORES = {
    "all": RANDOM.uniform(0.1, 1, (3, 5)).astype(np.float32),
    "few": np.eye(3, 5, dtype=np.float32) / 2,
    "none": np.zeros((3, 5), np.float32),
}


def load(module, path, **settings):
    """Sessions of the module's graph by backend."""
    outputs = [f"output{index}" for index in range(2 if isinstance(module, Suppress) else 1)]
    onnx.save(graph_from_module(module, SIZE, outputs=outputs, settings=settings), path)
    return {
        name: get_backend(name).load(path, device="cpu", options={"threads": 1})
        for name in BACKENDS
    }


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    module, path = Cut(RoIAlign(7, STRIDES)).eval(), tmp_path_factory.mktemp("cut") / "cut.onnx"
    padded = np.full((9, 4), -1, np.float32)
    return module, load(module, path, boxes=padded)


@pytest.fixture(scope="module")
def suppress(tmp_path_factory):
    module, path = Suppress().eval(), tmp_path_factory.mktemp("nms") / "nms.onnx"
    return module, load(module, path, boxes=CROWD, scores=SCORES["all"])


@pytest.mark.parametrize("boxes", BOXES.values(), ids=BOXES)
def test_boxes_are_cut_out_of_their_levels(cut, boxes):
    module, sessions = cut
    padded = np.concatenate([boxes, np.full((9 - len(boxes), 4), -1, np.float32)])
    expected = np.zeros((0, 3, 7, 7))
    if len(boxes):
        expected = module.expected(torch.from_numpy(IMAGE), torch.from_numpy(boxes)).numpy()
    found = [module(torch.from_numpy(IMAGE), torch.from_numpy(padded)).numpy()]
    for session in sessions.values():
        found.append(np.array(session.run({"image": IMAGE, "boxes": padded})["output0"]))
    for cuts in found:
        assert cuts.shape == expected.shape
        assert np.abs(cuts - expected).max(initial=0) < 1e-5


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_the_best_boxes_are_taken(suppress, scores):
    module, sessions = suppress
    places, kept = module.whole(torch.from_numpy(CROWD), torch.from_numpy(scores))
    taken = kept.numpy() > 0
    found = [module(*map(torch.from_numpy, (IMAGE, CROWD, scores)))]
    for session in sessions.values():
        outputs = session.run({"image": IMAGE, "boxes": CROWD, "scores": scores})
        found.append([np.array(output) for output in outputs.values()])
    for its_places, its_scores in found:
        assert np.array_equal(its_scores, kept)
        assert set(np.asarray(its_places)[taken]) == set(places.numpy()[taken])
