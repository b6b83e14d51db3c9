"""How far half precision moves classifiers: `half_parity.py --data FOLDER [MODEL ...]`.

Each MODEL is an ONNX file in float32, or VARIANT=CHECKPOINT, or a VARIANT to export with fresh
weights; by default the bundled classifier. For every picture in the folder the logits of the
half-precision file in ONNX Runtime are compared with those of the float32 file; and because ONNX
Runtime on a CPU computes much of a half-precision graph in float32, so are those of the form that
rounds every value, as a GPU does. Errors are in percent of the standard deviation of a picture's
float32 logits; `all` is the largest error in percent of that of all pictures' logits together.
`nodes` compute in half precision, and would but for the size of their values.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

import edgevit
from edgevit.convert.fp16.convert import half_graph
from edgevit.convert.graph import to_proto
from edgevit.convert.half_weights import widen_stored_weights
from edgevit.convert.reference_inputs import range_batches
from edgevit.convert.session import load_graph
from edgevit.export import export_model
from edgevit.zoo import find_model

Logits = NDArray[np.float64]


def float32_file(model: str, folder: str) -> Path:
    """The file of a MODEL."""
    variant, _, checkpoint = model.partition("=")
    if "/" in variant or variant.endswith(".onnx") or variant == "cas_vit_xs_cifar10":
        return find_model(model)
    output = Path(folder) / f"{variant}.onnx"
    return export_model(variant, output, checkpoint=checkpoint or None).path


def differences(reference: Logits, logits: Logits) -> str:
    """Agreement of the best class; root mean square and largest error."""
    same = np.mean(logits.argmax(axis=1) == reference.argmax(axis=1))
    error = np.abs(logits - reference)
    own = error / reference.std(axis=1, keepdims=True)
    shown = (same, np.sqrt(np.mean(own**2)), own.max(), error.max() / reference.std())
    return " ".join(f"{100 * value:7.3f}" for value in shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["cas_vit_xs_cifar10"], metavar="MODEL")
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    pictures = sorted(arguments.data.iterdir())
    print("                      ONNX Runtime on the CPU         every value rounded")
    print("model                 " + 2 * "  top-1     rms     max     all   " + "nodes")
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            file = float32_file(model, folder)
            with edgevit.Predictor(file, backend="onnxruntime") as predictor:
                batches = [predictor.preprocess(picture)[0] for picture in pictures]
            model = ir.from_proto(onnx.load(file))
        widen_stored_weights(model)
        graph = to_proto(model)
        half = half_graph(graph, range_batches(batches[0], predictor.spec.input), {})
        runs = (load_graph(form) for form in (graph, half.model, half.rounded))
        reference, *others = [
            np.concatenate([run(batch)["logits"] for batch in batches]).astype(np.float64)
            for run in runs
        ]
        shown = "   ".join(differences(reference, logits) for logits in others)
        nodes = f"{half.half_nodes}+{half.kept_nodes}"
        print(f"{file.stem:21} {shown} {nodes:>9}", flush=True)


if __name__ == "__main__":
    main()
