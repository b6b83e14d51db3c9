import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgevit.core.tasks.rle import RLE, decompress_counts
from edgevit.errors import InputError

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


def ellipse(height, width):
    y, x = np.mgrid[:height, :width]
    return ((y / height - 0.5) / 0.4) ** 2 + ((x / width - 0.5) / 0.3) ** 2 < 1


# Written by pycocotools 2.0.11.
GOLDEN = [
    (np.zeros((2, 3), bool), "6"),
    (np.ones((2, 3), bool), "06"),
    (np.eye(3, dtype=bool), "013000"),
    (np.zeros((2000, 3000), bool), "P\\Sg5"),
    (ellipse(9, 12), "n0442O0O20N101N`0"),
    (
        ellipse(120, 90),
        "hX2i0i2<G6I8J4K6K4L4M2M4M2N2M4M2O0O2N2N2O0O2O0O2O00000000000000000001N101N101N2N2N101N3L3N2N3L3N3L4L5J5L6H7J9DVR2",
    ),
]


@pytest.mark.parametrize(
    ("mask", "counts"), GOLDEN, ids=["none", "all", "diagonal", "large", "ellipse", "tall"]
)
def test_masks_are_written_as_coco_writes_them(mask, counts):
    encoded = RLE.from_mask(mask)
    assert encoded.to_dict() == {"size": list(mask.shape), "counts": counts}
    assert encoded.area == mask.sum()
    assert np.array_equal(encoded.to_mask(), mask)


@given(masks)
def test_a_mask_survives(mask):
    encoded = RLE.from_mask(mask)
    assert np.array_equal(encoded.to_mask(), mask)
    assert encoded.area == mask.sum()


@given(masks)
def test_pycocotools_writes_the_same(mask):
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    written = coco.encode(np.asfortranarray(mask, np.uint8))
    assert RLE.from_mask(mask).to_dict() == {**written, "counts": written["counts"].decode()}


@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=20))
def test_any_run_lengths_survive(counts):
    edges = np.cumsum(counts, dtype=np.int64)[:-1]
    encoded = RLE.from_edges(edges, (1, sum(counts)))
    assert decompress_counts(encoded.counts).tolist() == counts


def test_edges_may_leave_out_the_end_of_the_mask():
    with_end = RLE.from_edges(np.array([2, 4, 5, 6]), (2, 3))
    assert with_end == RLE.from_edges(np.array([2, 4, 5]), (2, 3))
    assert with_end.to_mask().T.reshape(-1).tolist() == [0, 0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1", "is not a compressed RLE: see ' '"),
        ("06ö", "is not a compressed RLE: see 'ö'"),
        ("o" * 20, "is not a compressed RLE"),
        ("06P", "ends in the middle of a number"),
    ],
    ids=["space", "beyond ascii", "endless", "cut"],
)
def test_text_that_is_no_rle_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        decompress_counts(text)


@pytest.mark.parametrize("counts", ["5", "7", "O7"], ids=["few", "many", "negative"])
def test_runs_that_do_not_fill_the_mask_are_refused(counts):
    with pytest.raises(InputError, match="must fill 6 pixels"):
        RLE((2, 3), counts).to_mask()
