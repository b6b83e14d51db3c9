"""Write a state dict to a file in each layout that the official trainers and releases use.

The libraries whose classes such files name (yacs, mmengine) need not be installed: look-alikes
stand in `sys.modules` while the file is written, and are gone before it is read.
"""

from __future__ import annotations

import argparse
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

StateDict = Mapping[str, Tensor]


class CfgNode(dict[str, Any]):
    """Pickles as yacs' does: items, and flags in `__dict__`."""

    def __init__(self, items: Mapping[str, Any]) -> None:
        super().__init__(items)
        self.__dict__.update({"__immutable__": True, "__deprecated_keys__": set()})


class HistoryBuffer:
    """Pickles as mmengine's does: arrays, and its own methods by name."""

    def __init__(self) -> None:
        self._log_history = np.array([0.5, 0.25])
        self.max_length = 1000000
        self.statistics_methods = {"min": HistoryBuffer.min}

    def min(self) -> float:
        return float(self._log_history.min())


CfgNode.__module__ = "yacs.config"
HistoryBuffer.__module__ = HistoryBuffer.min.__module__ = "mmengine.logging.history_buffer"


@contextmanager
def importable(kind: type) -> Iterator[None]:
    """Make the look-alike `kind` importable by the name it pickles as."""
    parts = kind.__module__.split(".")
    names = [".".join(parts[: end + 1]) for end in range(len(parts))]
    modules = {name: ModuleType(name) for name in names}
    setattr(modules[kind.__module__], kind.__name__, kind)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def other_weights(state_dict: StateDict) -> dict[str, Tensor]:
    """Weights that differ from `state_dict` in every value; they stand beside it in EMA layouts."""
    return {key: tensor + 1 for key, tensor in state_dict.items()}


def prefixed(state_dict: StateDict, prefix: str) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in state_dict.items()}


def _optimizer(state_dict: StateDict) -> dict[str, Any]:
    moments = dict(enumerate(state_dict.values()))
    return {"state": {i: {"step": 7, "exp_avg": t} for i, t in moments.items()}, "param_groups": []}


def cas_vit(path: Path, state_dict: StateDict) -> None:
    """CAS-ViT `classification/utils.py` without EMA."""
    args = argparse.Namespace(model="rcvit_xs", input_size=384, output_dir=Path("out"), drop=None)
    scaler = {"scale": 65536.0, "growth_factor": 2.0}
    optimizer = _optimizer(state_dict)
    parts = {"optimizer": optimizer, "epoch": "best_224", "scaler": scaler, "args": args}
    torch.save({"model": OrderedDict(state_dict), **parts}, path)


def cas_vit_ema(path: Path, state_dict: StateDict) -> None:
    """CAS-ViT with EMA: `model` is another set of weights, `model_ema` is `state_dict`."""
    raw, args = other_weights(state_dict), argparse.Namespace(model_ema=True)
    saved = {"model": raw, "epoch": "best-ema_224", "args": args, "model_ema": dict(state_dict)}
    torch.save(saved, path)


def lightvit_train(path: Path, state_dict: StateDict) -> None:
    """LightViT `lib/utils/misc.py`; its configuration leaves EMA off."""
    weights = {"model": dict(state_dict), "ema_model": None}
    torch.save({"epoch": 299, **weights, "optimizer": None, "dyrep": None}, path)


def lightvit_ema(path: Path, state_dict: StateDict) -> None:
    """LightViT with EMA of a DDP model, hence two wrappers."""
    ema = prefixed(state_dict, "module.module.")
    torch.save({"epoch": 299, "model": other_weights(state_dict), "ema_model": ema}, path)


def lightvit_release(path: Path, state_dict: StateDict) -> None:
    torch.save({"state_dict": OrderedDict(state_dict)}, path)


def litv2(path: Path, state_dict: StateDict) -> None:
    """LITv2 `classification/utils.py`: a yacs configuration and a NumPy scalar."""
    config = CfgNode({"MODEL": CfgNode({"NAME": "litv2_s", "ALPHA": 0.9}), "TAG": (1, "a")})
    logs = {"max_accuracy": np.float64(82.0), "epoch": 299, "lr_scheduler": {"base": [1e-3]}}
    with importable(CfgNode):
        torch.save({"model": dict(state_dict), **logs, "config": config}, path)


def mmcv(path: Path, state_dict: StateDict) -> None:
    meta = {"CLASSES": ("person", "car"), "config": "model = dict()", "epoch": 12, "iter": 87960}
    saved = {"meta": meta, "state_dict": OrderedDict(state_dict)}
    torch.save({**saved, "optimizer": _optimizer(state_dict)}, path)


def _mmengine(path: Path, **weights: StateDict) -> None:
    hub = {"log_scalars": OrderedDict(loss=HistoryBuffer()), "runtime_info": {"iter": 1}}
    with importable(HistoryBuffer):
        torch.save({"meta": {}, "message_hub": hub, **weights}, path)


def mmengine(path: Path, state_dict: StateDict) -> None:
    _mmengine(path, state_dict=state_dict)


def mmengine_ema(path: Path, state_dict: StateDict) -> None:
    """Mmengine's EMAHook swaps: `state_dict` is the average, `ema_state_dict` the raw weights."""
    raw = prefixed(other_weights(state_dict), "module.")
    _mmengine(path, state_dict=state_dict, ema_state_dict={"steps": torch.tensor(9), **raw})


def timm_ema(path: Path, state_dict: StateDict) -> None:
    args = argparse.Namespace(model="x")
    raw = other_weights(state_dict)
    torch.save({"state_dict": raw, "args": args, "state_dict_ema": dict(state_dict)}, path)


def lightning(path: Path, state_dict: StateDict) -> None:
    torch.save({"epoch": 1, "state_dict": prefixed(state_dict, "model.")}, path)


def ddp(path: Path, state_dict: StateDict) -> None:
    torch.save({"model": prefixed(state_dict, "module."), "epoch": 3}, path)


def compiled(path: Path, state_dict: StateDict) -> None:
    torch.save(prefixed(state_dict, "_orig_mod."), path)


def moby(path: Path, state_dict: StateDict) -> None:
    """Self-supervised pre-training: the encoder, and parts that no classifier has."""
    others = {"encoder_k.norm.bias": torch.zeros(2), "projector.bias": torch.zeros(2)}
    torch.save({"model": {**others, **prefixed(state_dict, "encoder.")}}, path)


def bare(path: Path, state_dict: StateDict) -> None:
    torch.save(OrderedDict(state_dict), path)


def legacy(path: Path, state_dict: StateDict) -> None:
    """The CAS-ViT layout in the file format before torch 1.6."""
    saved = {"model": OrderedDict(state_dict), "args": argparse.Namespace(lr=1e-3)}
    torch.save(saved, path, _use_new_zipfile_serialization=False)


LAYOUTS: dict[str, tuple[Callable[[Path, StateDict], None], str]] = {
    # name: (writer, the source that holds `state_dict`)
    "cas_vit": (cas_vit, "model"),
    "cas_vit_ema": (cas_vit_ema, "ema"),
    "lightvit_train": (lightvit_train, "model"),
    "lightvit_ema": (lightvit_ema, "ema"),
    "lightvit_release": (lightvit_release, "state_dict"),
    "litv2": (litv2, "model"),
    "mmcv": (mmcv, "state_dict"),
    "mmengine": (mmengine, "state_dict"),
    "mmengine_ema": (mmengine_ema, "ema"),
    "timm_ema": (timm_ema, "ema"),
    "lightning": (lightning, "state_dict"),
    "ddp": (ddp, "model"),
    "compiled": (compiled, "root"),
    "moby": (moby, "model"),
    "bare": (bare, "root"),
    "legacy": (legacy, "model"),
}
