from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths import DATA

from edgevit.core.model.metadata import (
    MULTIPLY_ADDS_KEY,
    read_io_types,
    read_metadata,
    read_multiply_adds,
)
from edgevit.errors import ModelError, ModelNotFoundError
from edgevit.testing import MODELS_FOLDER

TINY = DATA / "tiny.onnx"


def test_metadata_is_read_by_key():
    assert read_metadata(TINY)["note"] == "made by a test"


def test_a_model_without_metadata_has_none():
    assert read_metadata(TINY.with_name("bare.onnx")) == {}


def test_the_count_of_multiply_adds_is_read():
    assert read_multiply_adds(TINY) == 9


def test_a_model_that_states_no_count_has_none():
    assert read_multiply_adds(TINY.with_name("tiny_dynamic.onnx")) is None


@pytest.mark.parametrize("text", [b"", b"0", b"-9", b"9.5", b"many", "\u0669".encode()], ids=repr)
def test_a_count_that_is_none_is_refused(tmp_path, text):
    key = MULTIPLY_ADDS_KEY.encode()
    entry = bytes([0x0A, len(key), *key, 0x12, len(text), *text])
    path = tmp_path / "model.onnx"
    path.write_bytes(TINY.read_bytes() + bytes([0x72, len(entry), *entry]))  # a later entry wins
    with pytest.raises(ModelError, match="which is no count"):
        read_multiply_adds(path)


def test_the_onnx_package_reads_the_same_metadata():
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    expected = {entry.key: entry.value for entry in onnx.load(TINY).metadata_props}
    assert read_metadata(TINY) == expected


def test_element_types_of_inputs_and_outputs_are_read():
    float32, uint8, int64, boolean = 1, 2, 7, 9
    assert read_io_types(MODELS_FOLDER / "integers.onnx") == {
        "pixels": uint8,
        "factors": int64,
        "products": int64,
        "halves": float32,
        "is_large": boolean,
    }


@pytest.mark.parametrize("content", [b"\x3a\x05\x5a\x03\x0a\x09x", b"\x3a\x01\xff"], ids=repr)
def test_a_graph_that_is_cut_has_no_types(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="whole ONNX file"):
        read_io_types(path)


def test_an_absent_file_is_named():
    with pytest.raises(ModelNotFoundError, match=r"no model file 'nowhere\.onnx'"):
        read_metadata(Path("nowhere.onnx"))


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        read_metadata(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x08", b"not a model", b"\xff" * 40], ids=repr)
def test_what_is_no_onnx_file_is_refused(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model file|whole ONNX file"):
        read_metadata(path)


@given(keep=st.floats(0, 1), flip=st.integers(0, 7), place=st.floats(0, 1))
def test_damage_never_raises_anything_else(tmp_path_factory, keep, flip, place):
    content = bytearray(TINY.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1 << flip
    path = tmp_path_factory.mktemp("damaged") / "model.onnx"
    path.write_bytes(content[: int(keep * len(content))])
    for read in (read_metadata, read_io_types):
        try:
            read(path)
        except ModelError as exc:
            assert str(path) in str(exc)
