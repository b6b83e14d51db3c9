from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

DATA = Path(__file__).parent / "data"

settings.register_profile("edgevit", deadline=None)  # machines are shared: no test asserts a time
settings.load_profile("edgevit")

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # PyTorch takes every core in each of the processes that share the tests, and then they wait for
    # one another. Set before it is imported; what the tests start inherits it.
    share = (os.cpu_count() or 1) // int(workers)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

# What the tests import or were made with; some of it needs PyTorch, onnx or a runtime. Looking for
# doctests in it would put its folders on the path, and so register the package with an entry point.
collect_ignore_glob = [
    "conftest.py",
    "backends/conftest.py",
    "backends/fakes/*",
    "data/*",
    "package_with_entrypoint/*",
    "support/*",
]


@pytest.fixture
def tiny() -> Path:
    """A linear classifier of 8x8 pictures into red, green and blue."""
    return DATA / "tiny.onnx"


@pytest.fixture(scope="session")
def photos() -> Path:
    """A folder of real photographs that is not part of the repository."""
    return shared_folder("images")


@pytest.fixture(scope="session")
def bad_inputs() -> Path:
    """Hostile files that are not part of the repository."""
    return shared_folder("bad_inputs")


def shared_folder(name: str) -> Path:
    root = os.environ.get("EDGEVIT_TEST_DATA")
    if root is None:
        pytest.skip("EDGEVIT_TEST_DATA does not name a folder of test data")
    if not Path(root, name).is_dir():
        pytest.skip(f"EDGEVIT_TEST_DATA holds no folder {name}")
    return Path(root, name)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the tests out of the user's caches."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EDGEVIT_CACHE", str(folder))
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = ("torch", "onnx", "onnx_ir", "onnxscript", "safetensors")
    lacking = [name for name in names if find_spec(name) is None]
    if not lacking:
        return
    skip = pytest.mark.skip(reason=f"needs the export extra: {', '.join(lacking)} not installed")
    for item in items:
        if "torch" in item.keywords:
            item.add_marker(skip)
