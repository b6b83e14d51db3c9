"""Label PNGs: the samples themselves, whatever the file makes of them."""

import sys

import numpy as np
import pytest
from PIL import Image

from edgevit.errors import EdgeVitError, InputError
from edgevit.evaluate.label_map import read_label_map

IDS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def palette_image(ids):
    image = Image.fromarray(ids).convert("L")
    image.putpalette([(37 * index + 11) % 256 for index in range(768)])
    return image


@pytest.mark.parametrize(
    ("bits", "ids"), [(8, IDS * 20), (4, IDS), (2, IDS % 4), (1, IDS % 2)], ids=str
)
def test_indices_of_a_palette_are_kept(tmp_path, bits, ids):
    path = tmp_path / "labels.png"
    palette_image(ids).save(path, bits=bits)
    assert path.read_bytes()[24:26] == bytes([bits, 3])
    labels = read_label_map(path)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, ids)


def test_a_transparent_index_is_an_index(tmp_path):
    palette_image(IDS).save(tmp_path / "labels.png", transparency=3)
    assert np.array_equal(read_label_map(tmp_path / "labels.png"), IDS)


def test_grey_values_are_kept(tmp_path):
    Image.fromarray(IDS * 20).save(tmp_path / "labels.png")
    assert np.array_equal(read_label_map(tmp_path / "labels.png"), IDS * 20)


def test_black_and_white_is_0_and_1(tmp_path):
    Image.fromarray(IDS > 5).save(tmp_path / "labels.png")
    assert np.array_equal(read_label_map(tmp_path / "labels.png"), IDS > 5)


def test_16_bits_are_kept(tmp_path):
    ids = IDS.astype(np.uint16) * 5000
    Image.fromarray(ids).save(tmp_path / "labels.png")
    labels = read_label_map(tmp_path / "labels.png")
    assert labels.dtype == np.uint16
    assert np.array_equal(labels, ids)


@pytest.mark.parametrize(("mode", "suffix"), [("RGB", "png"), ("LA", "png"), ("L", "jpg")])
def test_a_picture_in_colours_is_refused(tmp_path, mode, suffix):
    path = tmp_path / f"labels.{suffix}"
    Image.fromarray(IDS).convert(mode).save(path)
    with pytest.raises(InputError, match="whose grey values or palette indices are class ids"):
        read_label_map(path)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "labels.png"
    Image.fromarray(IDS).save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"labels\.png' cannot be read: .*cut short"):
        read_label_map(path)


def test_a_file_without_pixels_is_refused(tmp_path):
    path = tmp_path / "labels.png"
    Image.fromarray(IDS).save(path)
    data = path.read_bytes()
    start, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    path.write_bytes(data[:start] + data[end:])
    with pytest.raises(InputError, match=r"labels\.png' are damaged"):
        read_label_map(path)


def test_without_pillow_the_way_to_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(EdgeVitError, match=r"pip install .*'pillow>=10\.3'"):
        read_label_map(tmp_path / "labels.png")
