"""Compare backends, devices and precisions on the same images.

    report = edgevit.parity.compare(
        "cas_vit_s.onnx", "photos", backends=["onnxruntime", "openvino"]
    )
    if not report.is_parity:
        print(report.pairs[0].problems, report.pairs[0].divergence)

Each image is preprocessed once, by the code that a Predictor uses, and the same batch goes to
every side: what differs is the runtimes and the files alone. The first side is the reference.
Where a side is not within its limits, the graph is cut open to find the first node that diverges.
"""

from edgevit.parity.card import markdown_card
from edgevit.parity.limits import DEFAULTS, Limits
from edgevit.parity.measure import compare
from edgevit.parity.report import Divergence, PairReport, ParityReport
from edgevit.parity.sides import Side
from edgevit.parity.tensors import TensorParity

__all__ = [
    "DEFAULTS",
    "Divergence",
    "Limits",
    "PairReport",
    "ParityReport",
    "Side",
    "TensorParity",
    "compare",
    "markdown_card",
]
