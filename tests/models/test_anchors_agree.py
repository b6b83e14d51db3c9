import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from edgevit.core.model.heads import AnchorGrid, Coder  # noqa: E402
from edgevit.core.tasks import boxes as core  # noqa: E402
from edgevit.models.boxes import decode_deltas, level_anchors  # noqa: E402

STRIDES, RATIOS, SCALES = (8, 16, 32), (0.5, 1.0, 2.0), (4.0, 5.04, 6.35)


@pytest.mark.parametrize("size", [(64, 96), (100, 70)], ids=str)
def test_anchors_of_the_modules_are_those_of_the_heads(size):
    grid = AnchorGrid(STRIDES, RATIOS, SCALES)
    maps = [torch.zeros(1, 1, *(-(-side // stride) for side in size)) for stride in STRIDES]
    ours = [level_anchors(grid, stride, map_) for stride, map_ in zip(STRIDES, maps, strict=True)]

    theirs = core.anchors_of(grid, size)

    np.testing.assert_allclose(torch.cat(ours).numpy(), theirs, rtol=0, atol=1e-4)  # float32 pixels


def test_the_coder_of_the_modules_is_that_of_the_heads():
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 300, (200, 2, 2)).astype(np.float32)
    anchors = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    deltas = generator.normal(0, 3, (200, 4)).astype(np.float32)  # some beyond the clamp
    stds = (0.5, 0.5, 2.0, 2.0)

    ours = decode_deltas(torch.from_numpy(anchors), torch.from_numpy(deltas), stds).numpy()

    np.testing.assert_allclose(
        ours, core.decode_deltas(deltas, anchors, Coder(stds=stds)), rtol=1e-5, atol=1e-2
    )
