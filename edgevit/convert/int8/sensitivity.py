"""Which layers cost accuracy when they are quantized, each measured alone."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from edgevit.convert.int8.compare import Reference
from edgevit.convert.int8.graph import Product
from edgevit.convert.int8.report import LayerSensitivity
from edgevit.convert.int8.target import TargetLayout
from edgevit.errors import InputError, suggestion

IMAGES = 4  # that each layer is measured on


def layer_sensitivities(
    model: ir.Model,
    products: Sequence[Product],
    thresholds: Mapping[str, float],
    reference: Reference,
    *,
    layout: TargetLayout,
    multiply_adds: Mapping[str, int],
    step: Callable[[], object],
) -> list[LayerSensitivity]:
    """Quantize one layer after the other and compare the model's answers.

    Args:
        model: the float32 graph, prepared for the layout.
        products: the layers.
        thresholds: ranges of their inputs.
        reference: this graph's answers to a few images.
        layout: what the runtime wants.
        multiply_adds: of each layer, by its name.
        step: called after each layer.
    """
    rows = []
    for product in products:
        quantized = layout.quantize(model, [product], thresholds)
        found = reference.difference(quantized)
        rows.append(
            LayerSensitivity(
                layer_name(product),
                multiply_adds[product.name],
                found.error,
                found.agreement,
                "int8",
            )
        )
        step()
    return rows


def keep_in_float(
    rows: Sequence[LayerSensitivity], max_error: float, *, always: Collection[str] = ()
) -> list[LayerSensitivity]:
    """Leave layers in floating point until the others' errors add up to little enough.

    Errors of layers are about independent, so their squares add up. The first to stay is the one
    that has the most of the sum for the arithmetic that it would make faster.

    Args:
        rows: of all layers, as `int8`.
        max_error: what the root of the sum may be.
        always: layers that stay in any case, see `check_layers`.

    Returns:
        The rows with their final precision.
    """
    kept = set(always)
    left = sum(row.error**2 for row in rows if row.layer not in kept)
    for row in sorted(rows, key=lambda row: row.error**2 / row.multiply_adds, reverse=True):
        if left <= max_error**2:
            break
        if row.layer not in kept:
            kept.add(row.layer)
            left -= row.error**2
    return [replace(row, precision="fp32") if row.layer in kept else row for row in rows]


def layer_name(product: Product) -> str:
    """What a layer is called in reports: its weight without what all weights have."""
    return product.weight.removesuffix(".1x1").removesuffix(".weight")


def check_layers(names: Collection[str], products: Sequence[Product]) -> None:
    """Refuse names of layers that are not there.

    Raises:
        InputError: naming those that are.
    """
    known = [layer_name(product) for product in products]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise InputError(
            f"no layer {', '.join(unknown)} can be quantized{suggestion(unknown[0], known)}; "
            f"known: {', '.join(known)}"
        )
