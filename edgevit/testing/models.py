"""The models of the conformance kit, and what NumPy answers for them.

The files are made by `tests/data/make_conformance_models.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevit.backend import AnyArray, TensorInfo

MODELS_FOLDER = Path(__file__).parent.parent / "assets" / "conformance"

Arrays = dict[str, AnyArray]


def wave(*shape: int) -> AnyArray:
    """Make float32 values in [-1, 1] without any symmetry, the same on every machine."""
    count = int(np.prod(shape, dtype=np.int64))
    values: AnyArray = np.sin(np.arange(1, count + 1) ** 2 * 0.7).astype(np.float32)
    return values.reshape(shape)


KERNELS, BIAS = wave(4, 3, 3, 3), wave(4)


def _convolve(feeds: Arrays) -> Arrays:
    padded = np.pad(feeds["image"], ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    features = np.einsum("nchwij,ocij->nohw", windows, KERNELS) + BIAS[:, None, None]
    return {"features": np.maximum(features, 0)}


def _integers(feeds: Arrays) -> Arrays:
    wide = feeds["pixels"].astype(np.int64) * feeds["factors"]
    return {"products": wide, "halves": wide.astype(np.float32) / 2, "is_large": wide > 100}


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the kit.

    Args:
        file: name in `MODELS_FOLDER`.
        inputs: as a session must describe them, in this order.
        outputs: as a session must describe them, in this order.
        answer: computes the outputs.
    """

    file: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    answer: Callable[[Arrays], Arrays]

    @property
    def path(self) -> Path:
        """Path of the ONNX file in the installed package."""
        return MODELS_FOLDER / self.file

    def feeds(self, batch: int = 2, scale: float = 100) -> Arrays:
        """Make feeds; free axes get the length `batch`."""
        return {info.name: _values(info, batch, scale) for info in self.inputs}


def _values(info: TensorInfo, batch: int, scale: float) -> AnyArray:
    values = wave(*(batch if length is None else length for length in info.shape))
    if info.dtype == np.uint8:
        values, scale = np.abs(values), 255
    scaled: AnyArray = (values * scale).astype(info.dtype)
    return scaled


def _info(name: str, dtype: Any, *shape: int | None) -> TensorInfo:  # whatever np.dtype takes
    return TensorInfo(name, np.dtype(dtype), shape)


CONVOLUTION = Model(
    "convolution.onnx",
    (_info("image", "f4", 1, 3, 8, 6),),
    (_info("features", "f4", 1, 4, 8, 6),),
    _convolve,
)
PAIR = Model(  # neither inputs nor outputs are in alphabetical order
    "pair.onnx",
    (_info("b", "f4", None, 3), _info("a", "f4", None, 3)),
    (_info("sum", "f4", None, 3), _info("difference", "f4", None, 3)),
    lambda feeds: {"sum": feeds["b"] + feeds["a"], "difference": feeds["b"] - feeds["a"]},
)
INTEGERS = Model(
    "integers.onnx",
    (_info("pixels", "u1", 2, 3), _info("factors", "i8", 3)),
    (_info("products", "i8", 2, 3), _info("halves", "f4", 2, 3), _info("is_large", "?", 2, 3)),
    _integers,
)
TOTAL = Model(
    "total.onnx",
    (_info("values", "f4", None),),
    (_info("total", "f4"),),
    lambda feeds: {"total": feeds["values"].sum()},
)
IDENTITY = Model(
    "identity.onnx",
    (_info("given", "f4", None, 3),),
    (_info("same", "f4", None, 3),),
    lambda feeds: {"same": feeds["given"]},
)
MERGED = Model(  # a runtime may merge the three tensors; the outputs keep their names and order
    "merged.onnx",
    (_info("given", "f4", None, 3),),
    (_info("second", "f4", None, 3), _info("first", "f4", None, 3)),
    lambda feeds: dict.fromkeys(("second", "first"), np.maximum(feeds["given"], 0)),
)
HALF = Model(
    "half.onnx",
    (_info("x", "f2", 2, 3),),
    (_info("y", "f2", 2, 3),),
    lambda feeds: {"y": feeds["x"] * np.float16(0.5)},
)
FOURS = Model(  # fails while running where the length is no multiple of four
    "fours.onnx",
    (_info("values", "f4", None),),
    (_info("fours", "f4", None, 4),),
    lambda feeds: {"fours": feeds["values"].reshape(-1, 4)},
)
UNSUPPORTED = MODELS_FOLDER / "unsupported.onnx"
EXACT_MODELS = (CONVOLUTION, PAIR, INTEGERS, TOTAL, IDENTITY, MERGED, FOURS)
