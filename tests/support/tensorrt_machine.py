"""Machines with a fake GPU and a fake TensorRT, for the tests of the TensorRT backend."""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from paths import DATA

from edgevit.errors import LoadError
from edgevit.testing.models import CONVOLUTION

FAKES = DATA.parent / "backends" / "fakes"
MODULES = ("tensorrt", "cuda", "pycuda", "fake_gpu", "edgevit_tensorrt")
LIBRARIES = ("cuda_bindings", "pycuda_only")
VERSIONS = ("8.6.1", "10.3.0", "11.4.0")


def forget():
    """Unload the fakes and the plugin, which is written for one machine in a process."""
    for name in list(sys.modules):
        if name.split(".")[0] in MODULES:
            del sys.modules[name]


@dataclass
class Machine:
    """What `machine(...)` of the fixture answers.

    Args:
        patch: pytest's monkeypatch.
        log: file of the calls that the fakes noted, in all processes.
    """

    patch: object
    log: Path
    settings: dict = field(default_factory=dict)

    def change(self, **settings):
        """Change the machine while it runs; the version and the library stay as imported."""
        self.settings |= settings
        self.patch.setenv("EDGEVIT_FAKE_GPU", json.dumps({**self.settings, "log": str(self.log)}))

    def backend(self, *, builds_here=True):
        """Make the backend, as the registry does.

        Args:
            builds_here: let engines be built in this process, which is faster than in a child.
        """
        backend = importlib.import_module("edgevit_tensorrt").TensorRTBackend()
        if builds_here:
            child = importlib.import_module("edgevit_tensorrt.child")
            self.patch.setattr(child, "_run", _build_here)
        return backend

    @property
    def gpu(self):
        """The fake GPU of this process."""
        return importlib.import_module("fake_gpu").MACHINE

    def events(self, kind):
        """Noted calls of one kind, first to last."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    @property
    def runs(self):
        """How often the engine was queued call by call, captured, and launched as a graph."""
        queued = Counter(event["captured"] for event in self.events("execute"))
        return queued[False], queued[True], self.gpu.counts["launches"]


def _build_here(request, errors):
    """Do what the child process does, without one."""
    build = importlib.import_module("edgevit_tensorrt.build")
    drivers = importlib.import_module("edgevit_tensorrt.drivers")
    try:
        driver = drivers.find_driver()
        driver.start()
        with driver.open(request.gpu).active():
            return build._build(request, lambda event: None)
    except build.RefusedError as exc:
        raise LoadError(f"TensorRT cannot load {request.model!r}: {exc}") from exc


def start(patch, log, *, library="cuda_bindings", packages=("tensorrt",), **settings):
    """Put a machine on the path.

    Args:
        patch: pytest's monkeypatch.
        log: where the fakes note their calls.
        library: what reaches CUDA; None for nothing.
        packages: nothing, where TensorRT is not installed.
        settings: see `fake_gpu.settings`.
    """
    forget()
    patch.setattr(sys, "path", [path for path in sys.path if not path.startswith(str(FAKES))])
    if packages:
        patch.syspath_prepend(str(FAKES / "common"))
    else:
        patch.syspath_prepend(str(FAKES / "empty"))
    if library is not None:
        patch.syspath_prepend(str(FAKES / library))
    machine = Machine(patch, log)
    machine.change(**settings)
    return machine


ANSWER = CONVOLUTION.answer(CONVOLUTION.feeds())["features"]


def load(backend, model=CONVOLUTION.path, device="cuda:0", **options):
    return backend.load(model, device=device, options=options)


def answer(session):
    return session.run(CONVOLUTION.feeds())["features"].copy()


def save(text, path):
    onnx = pytest.importorskip("onnx", reason="onnx makes the model")
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(onnx.parser.parse_graph(text), opset_imports=opsets)
    model.ir_version = 8
    onnx.save(model, path)
    return path


def built(machine, model=CONVOLUTION.path, device="cuda:0", **options):
    """What the fake builder noted."""
    load(machine.backend(), model, device, **options).close()
    return machine.events("build")[-1]
