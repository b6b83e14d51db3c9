"""From an ONNX file to TensorRT's network and the builder's configuration.

The precision is in the graph: its float16 tensors and its Q/DQ nodes are what TensorRT computes
with, nothing else is rounded. Versions that know strongly typed networks do that by themselves. In
those that do not (8.x; on a DLA also 10.x) the types that the graph uses are allowed, and what it
keeps in float32 is pinned there.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorrt as trt

from edgevit_tensorrt.data_types import ONNX_INT64, numpy_dtype
from edgevit_tensorrt.log import Log
from edgevit_tensorrt.request import LARGEST_BATCH, RefusedError, Request

MOST_ERRORS = 4  # of the parser in one message: an operator may be missing a hundred times

logger = logging.getLogger(__name__)


def parse(builder: Any, request: Request, log: Log) -> tuple[Any, bool]:
    """Read the ONNX file.

    Returns:
        The network, and whether it is strongly typed.

    Raises:
        RefusedError: naming the node that TensorRT does not support.
    """
    flags = trt.NetworkDefinitionCreationFlag
    is_strong = hasattr(flags, "STRONGLY_TYPED")
    if request.dla is not None and hasattr(trt.BuilderFlag, "FP16"):
        is_strong = False  # a DLA that takes precision flags takes no other precision
    wanted = "STRONGLY_TYPED" if is_strong else "EXPLICIT_BATCH"
    bits = 1 << int(getattr(flags, wanted)) if hasattr(flags, wanted) else 0
    network = builder.create_network(bits)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(request.model):
        raise RefusedError(_parser_errors(parser, log))
    return network, is_strong


def _parser_errors(parser: Any, log: Log) -> str:
    logged = log.take_errors()
    errors = [_parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
    # Before 10, an error has the node's number; its name is only in what the parser logs.
    if errors and not hasattr(trt.ParserError, "node_name"):
        errors = [*logged, *errors]
    said = errors or logged or ["its parser gave no reason"]
    more = f" ... and {len(said) - MOST_ERRORS} more" if len(said) > MOST_ERRORS else ""
    return " ".join(" ".join(said[:MOST_ERRORS]).split()) + more


def _parser_error(error: Any) -> str:
    if error.node() < 0:  # of the file as a whole
        return str(error.desc())
    if not hasattr(error, "node_name"):
        return f"node number {error.node()}: {error.desc()}"
    name = repr(error.node_name()) if error.node_name() else f"number {error.node()}"
    return f"node {name} ({error.node_operator()}): {error.desc()}"


def configure(builder: Any, request: Request) -> Any:
    """Make TensorRT's IBuilderConfig of a request's options and device."""
    options = request.build
    config = builder.create_builder_config()
    if not options["tf32"]:
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default: float32 products with 10 bits
    if options["workspace"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options["workspace"])
    if options["optimization_level"] is not None:
        config.builder_optimization_level = options["optimization_level"]
    # Until it became the rule, in 9, contexts could not share a profile.
    if hasattr(getattr(trt, "PreviewFeature", None), "PROFILE_SHARING_0806"):
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    if request.dla is not None:
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = request.dla
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    return config


def allow_types_of(network: Any, config: Any) -> None:
    """Let a weakly typed network compute in the types of its tensors, and only there."""
    if _is_quantized(network):
        config.set_flag(trt.BuilderFlag.INT8)
    if _has_half(network):
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
        for layer in _layers(network):
            _keep_float32(layer)


def check_dla(network: Any, config: Any) -> None:
    """Refuse a graph of which a DLA can do nothing; warn of the layers that it leaves to the GPU.

    Raises:
        RefusedError: if the graph has no type that a DLA computes with.
    """
    if not _is_quantized(network) and not _has_half(network):
        raise RefusedError(
            "a DLA computes in float16 and int8 only, and this model is float32; export it with "
            "--precision fp16, or quantize it"
        )
    layers = _layers(network)
    left = [layer.name for layer in layers if not config.can_run_on_DLA(layer)]
    if left:
        text = "the DLA computes %d of %d layers; the GPU does the others, %r first"
        logger.warning(text, len(layers) - len(left), len(layers), left[0])


def _layers(network: Any) -> list[Any]:
    return [network.get_layer(index) for index in range(network.num_layers)]


def _is_quantized(network: Any) -> bool:
    return any(layer.type == trt.LayerType.QUANTIZE for layer in _layers(network))


def _has_half(network: Any) -> bool:
    """Say whether float16 is computed with; weights may merely be stored so."""
    computing = [layer for layer in _layers(network) if layer.type != trt.LayerType.CONSTANT]
    tensors = [tensor for layer in computing for tensor in _outputs(layer)]
    return any(tensor.dtype == trt.DataType.HALF for tensor in (*_inputs(network), *tensors))


def _keep_float32(layer: Any) -> None:
    outputs = _outputs(layer)
    fixed = (trt.LayerType.CONSTANT, trt.LayerType.SHAPE, trt.LayerType.CAST)
    if layer.type in fixed or any(tensor.dtype != trt.DataType.FLOAT for tensor in outputs):
        return
    layer.precision = trt.DataType.FLOAT
    for index in range(len(outputs)):
        layer.set_output_type(index, trt.DataType.FLOAT)


def _outputs(layer: Any) -> list[Any]:
    return [layer.get_output(index) for index in range(layer.num_outputs)]


def add_profiles(
    builder: Any, network: Any, config: Any, wanted: Sequence[Mapping[str, Any]] | None
) -> list[dict[str, Any]]:
    """Tell the builder which shapes will come.

    Args:
        builder: TensorRT's builder.
        network: the parsed network.
        config: receives the profiles.
        wanted: the user's; None for batches of 1 to `LARGEST_BATCH`, tuned for 1.

    Returns:
        The profiles, with an entry for every input; none where no axis is free.

    Raises:
        RefusedError: if they do not fit the inputs, or are needed and not given.
    """
    inputs = {tensor.name: tuple(tensor.shape) for tensor in _inputs(network)}
    free = {name: shape for name, shape in inputs.items() if -1 in shape}
    if wanted is None:
        wanted = [{name: _default_shapes(name, shape) for name, shape in free.items()}]
    used = []
    for profile in wanted if free else []:
        used.append(_add_profile(builder, config, inputs, profile))
    if not free and wanted and any(wanted):
        raise RefusedError(f"option 'profiles' is given, but no axis of {inputs} is free")
    return used


def _inputs(network: Any) -> list[Any]:
    return [network.get_input(index) for index in range(network.num_inputs)]


def _default_shapes(name: str, shape: tuple[int, ...]) -> list[list[int]]:
    if -1 in shape[1:]:
        raise RefusedError(
            f"input {name!r} has free axes other than the first, {shape}; TensorRT must know their "
            "ranges: pass options={'profiles': {" + repr(name) + ": [smallest, usual, largest]}}"
        )
    return [[batch, *shape[1:]] for batch in (1, 1, LARGEST_BATCH)]


def _add_profile(
    builder: Any, config: Any, inputs: Mapping[str, tuple[int, ...]], wanted: Mapping[str, Any]
) -> dict[str, Any]:
    profile, used = builder.create_optimization_profile(), {}
    for name in wanted:
        if name not in inputs:
            raise RefusedError(f"a profile names the input {name!r}; the model has {list(inputs)}")
    for name, shape in inputs.items():
        shapes = wanted.get(name, [shape] * 3)
        if not all(_fits(given, shape) for given in shapes):
            raise RefusedError(f"a profile gives {name!r} the shapes {shapes}, the model {shape}")
        if -1 in shape:
            profile.set_shape(name, *(tuple(given) for given in shapes))
        used[name] = [list(given) for given in shapes]
    if config.add_optimization_profile(profile) < 0:
        raise RefusedError(f"TensorRT refuses the profile {used}")
    return used


def _fits(given: Sequence[int], shape: tuple[int, ...]) -> bool:
    return (
        len(given) == len(shape)
        and -1 not in given
        and all(want in (-1, got) for want, got in zip(shape, given, strict=True))
    )


def describe(network: Any, declared: Mapping[str, int]) -> dict[str, Any]:
    """Describe inputs and outputs as the ONNX file has them, in its order.

    Args:
        network: the parsed network.
        declared: the file's element type for each name.

    Raises:
        RefusedError: if one has a type that edgevit does not run, or decides shapes.
    """
    inputs = _inputs(network)
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    for tensor in inputs:
        if tensor.is_shape_tensor:
            raise RefusedError(f"input {tensor.name!r} decides shapes, which edgevit does not run")
    return {
        "inputs": [_describe(tensor, declared) for tensor in inputs],
        "outputs": [_describe(tensor, declared) for tensor in outputs],
    }


def _describe(tensor: Any, declared: Mapping[str, int]) -> dict[str, Any]:
    dtype = numpy_dtype(tensor.dtype)
    if dtype is None:
        raise RefusedError(
            f"tensor {tensor.name!r} has the type {tensor.dtype}, which edgevit does not run"
        )
    if declared.get(tensor.name) == ONNX_INT64 and dtype == "int32":
        logger.info("this TensorRT computes the 64-bit integers of %r with 32 bits", tensor.name)
        dtype = "int64"
    shape = [None if length < 0 else length for length in tensor.shape]
    return {"name": tensor.name, "dtype": dtype, "shape": shape}


def use_timing_cache(config: Any, path: str | None) -> Any:
    """Start with the times that an earlier build measured, where TensorRT accepts them."""
    stored = Path(path).read_bytes() if path else b""
    cache = config.create_timing_cache(stored)
    if cache is None or not config.set_timing_cache(cache, False):
        logger.info("the times of earlier builds are of another GPU or TensorRT: measuring again")
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return config.get_timing_cache()
