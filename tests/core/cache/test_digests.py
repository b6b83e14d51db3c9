import hashlib
import os

import pytest

from edgevit.backend import file_digests
from edgevit.core.cache.digests import file_sha256


def test_a_file_has_its_sha256(tmp_path):
    content = bytes(range(256)) * 5000  # more than is read at once
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def external(folder, location, content=b"weights"):
    """A file that names weights as a TensorProto does."""
    name = os.fsencode(location)
    (folder / "weights.bin").write_bytes(content)
    model = folder / "model.onnx"
    model.write_bytes(b"some graph\n\x08location\x12" + bytes([len(name)]) + name)
    return file_digests(model)


def test_weights_in_another_file_count(tmp_path):
    first = external(tmp_path, "weights.bin", b"first")
    second = external(tmp_path, "weights.bin", b"second")
    assert set(first) == set(second) == {"", "weights.bin"}
    assert first[""] == second[""]
    assert first["weights.bin"] != second["weights.bin"]


@pytest.mark.parametrize("location", ["missing.bin", "/dev/zero", ".", "", "a\0b"])
def test_location_that_is_no_file_is_not_read(location, tmp_path):
    assert set(external(tmp_path, location)) == {""}


def test_location_that_is_not_understood_means_no_cache(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"some graph\n\x08location\x1a\x01x")
    assert file_digests(tmp_path / "model.onnx") is None


def test_long_location_is_read_whole(tmp_path):
    name = "w" * 200
    (tmp_path / name).write_bytes(b"weights")
    model = tmp_path / "model.onnx"
    model.write_bytes(b"\n\x08location\x12\xc8\x01" + name.encode())
    assert name in file_digests(model)
