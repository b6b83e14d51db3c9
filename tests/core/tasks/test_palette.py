import numpy as np
import pytest

from edgevit.core.tasks.palette import default_palette


@pytest.mark.parametrize("count", [0, 1, 11, 1000])
def test_every_class_has_a_color(count):
    palette = default_palette(count)
    assert (palette.shape, palette.dtype) == ((count, 3), np.uint8)


def test_a_classs_color_does_not_depend_on_how_many_there_are():
    assert np.array_equal(default_palette(80)[:11], default_palette(11))


@pytest.mark.parametrize(("count", "apart"), [(11, 60), (80, 10)])
def test_colors_differ(count, apart):
    palette = default_palette(count).astype(int)
    distances = np.abs(palette[:, None] - palette).sum(axis=2)
    assert distances[~np.eye(count, dtype=bool)].min() > apart


def test_a_palette_is_shared_and_so_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        default_palette(3)[0] = 0
