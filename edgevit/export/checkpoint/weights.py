"""Find the weights in a checkpoint, whoever wrote it, and load them strictly.

Layouts: CAS-ViT (`model`, `model_ema`), LightViT (`model`, `ema_model`; releases: `state_dict`),
LITv2 (`model`), mmcv and mmengine detectors (`state_dict`), timm (`state_dict`, `state_dict_ema`),
and a bare state dict, each also behind the prefixes of DDP, torch.compile, Lightning and averaging.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeGuard

import torch
from torch import Tensor, nn

from edgevit.core.cache.digests import file_sha256
from edgevit.errors import ExportError
from edgevit.export.checkpoint.unpickle import PLAIN_SAVE, read_objects

Weights = Literal["model", "ema"]
Variants = Mapping[str, Callable[[], nn.Module]]
StateDict = Mapping[str, Tensor]

# In order of preference; `state_dict` before `model`, as the official loaders have it.
_KEYS: dict[Weights, tuple[str, ...]] = {
    "model": ("state_dict", "model"),
    "ema": ("model_ema", "ema_model", "state_dict_ema", "ema_state_dict"),
}
_WRAPPERS = ("module.", "_orig_mod.", "model.")  # DDP and EMA, torch.compile, Lightning
_COUNTERS = ("n_averaged", "steps")  # what averaging wrappers of torch and mmengine count
_HEADS = ("head.", "dist_head.")
_OPTIONAL = (".relative_position_index", ".num_batches_tracked")  # the model has its own
_MAX_EXPANSION = 4  # bytes of weights for a byte of file; tied weights make it more than 1
_SHOWN = 3  # keys of each kind that an error names


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The weights of one checkpoint file.

    Args:
        state_dict: tensors on the CPU by official key; dtypes as stored, the prefixes of wrappers
            removed.
        source: "ema", or where the raw weights lay: "model", "state_dict", or "root" where the
            file is a bare state dict.
        sha256: hexadecimal digest of the file.
        notes: what to tell the user, such as that EMA weights were preferred.
    """

    state_dict: dict[str, Tensor]
    source: str
    sha256: str
    notes: tuple[str, ...] = ()


def read_checkpoint(path: str | PathLike[str], *, weights: Weights | None = None) -> Checkpoint:
    """Read the weights of a checkpoint file; nothing in the file is executed.

    Args:
        path: the file.
        weights: "model" for the raw weights, "ema" for the averaged ones; None takes the averaged
            ones where the file has them.

    Returns:
        The weights, where they came from, and what to tell the user.

    Raises:
        ModelNotFoundError: if there is no such file.
        ExportError: if the file cannot be read safely, or has no such weights.
    """
    file = Path(path)
    state_dict, source, notes = _chosen(file, read_objects(file), weights)
    tensors, removed = _without_wrappers(_tensors(file, state_dict))
    if removed:
        notes.append(f"the prefix {removed!r} was removed from every key")
    if min(tensors).startswith("encoder."):
        encoder = {k: tensor for k, tensor in tensors.items() if k.startswith("encoder.")}
        tensors = {k.removeprefix("encoder."): tensor for k, tensor in encoder.items()}
        notes.append("only the keys under 'encoder.' were taken, as for MoBY pre-training")
    # Copies, because the tensors may still be mapped from the file.
    owned = {k: t.clone(memory_format=torch.contiguous_format) for k, t in tensors.items()}
    return Checkpoint(owned, source, file_sha256(file), tuple(notes))


def load_strictly(
    model: nn.Module, state_dict: StateDict, *, variants: Variants | None = None
) -> None:
    """Load official weights into `model`, all of them or none.

    Weights of another floating dtype are cast to the model's. Buffers that the model computes
    itself, and the counters of BatchNorm, may be absent.

    Args:
        model: the module, with the official parameter names.
        state_dict: the weights, as `read_checkpoint` gives them.
        variants: builders, by name, of models that these weights may belong to instead; called
            only where `model` does not fit, to name the one that does.

    Raises:
        ExportError: if keys, shapes or dtypes differ, or a weight is not finite.
    """
    expected: dict[str, Tensor] = model.state_dict()
    differences = _differences(expected, state_dict)
    if differences.keys:
        reason = _diagnosis(expected, state_dict, variants or {})
        raise ExportError(
            f"the checkpoint does not fit {type(model).__name__}: {differences}. {reason}"
        )
    cast = {key: tensor.to(expected[key].dtype) for key, tensor in state_dict.items()}
    for key, tensor in cast.items():
        if not torch.isfinite(tensor).all():
            raise ExportError(
                f"the weight {key!r} of the checkpoint has NaN or infinite values as "
                f"{_kind(tensor)}: the training diverged, or the file is damaged; "
                "export an earlier checkpoint"
            )
    model.load_state_dict(cast, strict=False)


def num_classes_in(state_dict: StateDict) -> int | None:
    """Count the classes of a classifier's weights; None where there is no linear `head`.

    Example:
        >>> num_classes_in({"head.weight": torch.zeros(37, 220)})
        37
    """
    weight = state_dict.get("head.weight")
    return weight.shape[0] if weight is not None and weight.ndim == 2 else None


def _chosen(
    file: Path, root: object, weights: Weights | None
) -> tuple[Mapping[Any, Any], str, list[str]]:
    """Choose a state dict: itself, its source, and notes on the choice."""
    if not isinstance(root, Mapping):
        raise ExportError(
            f"{str(file)!r} holds one {type(root).__name__}, not a state dict; "
            f"save one with {PLAIN_SAVE}"
        )
    keys = _weight_keys(root)
    if not keys and weights != "ema" and _is_state_dict(root):
        return root, "root", []
    kind: Weights = weights or ("ema" if "ema" in keys else "model")
    if kind not in keys:
        raise ExportError(_absence(file, root, weights))
    if kind == "model":
        return root[keys[kind]], keys[kind] if keys[kind] in _KEYS["model"] else "model", []
    has_raw = "model" in keys
    advice = "--weights model takes the raw ones" if has_raw else "the file has no raw ones"
    notes = [f"EMA weights used ({keys[kind]!r}); {advice}"] if weights is None else []
    return root[keys[kind]], "ema", notes


def _weight_keys(root: Mapping[Any, Any]) -> dict[Weights, str]:
    """Where `root` keeps its raw and its averaged weights."""
    keys: dict[Weights, str] = {}
    for kind, names in _KEYS.items():
        present = [name for name in names if _is_state_dict(root.get(name))]
        if present:
            keys[kind] = present[0]
    if keys == {"model": "state_dict", "ema": "ema_state_dict"} and "message_hub" in root:
        # mmengine's EMAHook swaps the two as it saves, so that `state_dict` is the one to deploy.
        return {"model": "ema_state_dict", "ema": "state_dict"}
    return keys


def _is_state_dict(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping) and any(
        isinstance(tensor, Tensor) and key not in _COUNTERS for key, tensor in value.items()
    )


def _absence(file: Path, root: Mapping[Any, Any], weights: Weights | None) -> str:
    held = ", ".join(f"{k!r:.80} ({type(v).__name__})" for k, v in list(root.items())[:12])
    if weights is not None:
        kind = {"ema": "EMA", "model": "raw"}[weights]
        return (
            f"{str(file)!r} has no {kind} weights; it holds {held}. "
            "Leave out --weights to take what there is"
        )
    known = ", ".join(repr(name) for names in _KEYS.values() for name in names)
    return (
        f"{str(file)!r} has no weights at its top level or under {known}; "
        f"it holds {held or 'nothing'}. Save the weights alone with {PLAIN_SAVE}"
    )


def _tensors(file: Path, state_dict: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Check that the weights are plain tensors, no larger than their file can make them."""
    for key, value in state_dict.items():
        if not isinstance(key, str) or not _is_plain(value):
            raise ExportError(
                f"{str(file)!r} has a {type(value).__name__} named {key!r:.80} among its weights, "
                f"where plain tensors are expected; save a plain state dict with {PLAIN_SAVE}"
            )
    weights = {key: tensor.detach() for key, tensor in state_dict.items() if key not in _COUNTERS}
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    size = file.stat().st_size
    if claimed > _MAX_EXPANSION * size:
        raise ExportError(f"{str(file)!r} claims {claimed} bytes of weights in {size}; refused")
    return weights


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _without_wrappers(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Remove the prefixes that stand before every key; also give what was removed."""
    for prefix in _WRAPPERS:
        if all(key.startswith(prefix) for key in tensors):
            inner = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
            tensors, removed = _without_wrappers(inner)
            return tensors, prefix + removed
    return tensors, ""


@dataclass(frozen=True, slots=True)
class _Differences:
    """Keys that keep weights from fitting a model; `reshaped` with what was given and expected."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: dict[str, str]

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.missing, *self.unexpected, *self.reshaped)

    def __str__(self) -> str:
        counted = (
            (len(self.missing), "missing", map(repr, self.missing)),
            (len(self.unexpected), "unexpected", map(repr, self.unexpected)),
            (len(self.reshaped), "of another shape", self.reshaped.values()),
        )
        return "; ".join(
            f"{count} {what} ({_first(texts, count)})" for count, what, texts in counted if count
        )


def _first(texts: Iterable[str], count: int) -> str:
    shown = [text for text, _ in zip(texts, range(_SHOWN), strict=False)]
    return ", ".join([*shown, "..."] if count > _SHOWN else shown)


def _differences(expected: StateDict, given: StateDict) -> _Differences:
    return _Differences(
        missing=tuple(k for k in expected if k not in given and not f".{k}".endswith(_OPTIONAL)),
        unexpected=tuple(k for k in given if k not in expected),
        reshaped={
            key: f"{key!r} is {_kind(given[key])}, not {_kind(tensor)}"
            for key, tensor in expected.items()
            if key in given and not _can_take(tensor, given[key])
        },
    )


def _can_take(expected: Tensor, given: Tensor) -> bool:
    is_kind = given.is_floating_point() or not expected.is_floating_point()
    return expected.shape == given.shape and is_kind


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _diagnosis(expected: StateDict, given: StateDict, variants: Variants) -> str:
    """Say what the weights probably are, and what to do."""
    classes = num_classes_in(given)
    in_heads = all(k.startswith(_HEADS) for k in _differences(expected, given).keys)
    if in_heads and classes != num_classes_in(expected) and classes is not None:
        return (
            f"The checkpoint has {classes} classes and the model {num_classes_in(expected)}: "
            f"pass --num-classes {classes}"
        )
    for name, build in variants.items():
        if not _differences(_body(build().state_dict()), _body(given)).keys:
            return f"These are the weights of {name!r}: export that name"
    if in_heads and not _has(given, "dist_head."):
        return (
            "The checkpoint was trained without the distillation head; logits are the mean of both "
            "heads, so a copy of 'head.*' under 'dist_head.*' gives the same answers"
        )
    return _task_diagnosis(expected, given)


def _body(state_dict: StateDict) -> StateDict:
    return {k: tensor for k, tensor in state_dict.items() if not k.startswith(_HEADS)}


def _task_diagnosis(expected: StateDict, given: StateDict) -> str:
    if _has(given, "backbone.") and not _has(expected, "backbone."):
        return "Keys begin with 'backbone.': these are the weights of a detector or segmenter"
    if _has(given, "norm0.") and not _has(expected, "norm0."):
        return "'norm0' is there: these are the weights of a dense backbone, not of a classifier"
    if _has(given, "head.") and _has(expected, "backbone."):
        return "These are the weights of a classifier; a detector or segmenter is asked for"
    return "Check that the variant and the task are the ones that were trained"


def _has(state_dict: StateDict, prefix: str) -> bool:
    return any(key.startswith(prefix) for key in state_dict)
