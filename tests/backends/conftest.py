from __future__ import annotations

import gc

import pytest
from tensorrt_machine import forget, start

from edgevit.core.runtime.registry import get_backend


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Make a machine: `machine(version="10.3.0", library="cuda_bindings", ...)`."""

    def make(**settings):
        return start(monkeypatch, tmp_path / "calls", **settings)

    yield make
    gc.collect()
    forget()


@pytest.fixture
def folder(cache):
    """Where engines are kept."""
    return cache / "tensorrt"


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """Register the backend as an installed edgevit does."""
    information = tmp_path / "site/aaa_edgevit_tensorrt-1.0.dist-info"
    information.mkdir(parents=True)
    entry = "[edgevit.backends]\ntensorrt = edgevit_tensorrt:TensorRTBackend\n"
    (information / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(information.parent))
    get_backend.cache_clear()
    yield
    get_backend.cache_clear()
