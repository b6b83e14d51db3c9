"""Export a checkpoint and prove the file: `04_export.py [VARIANT [CHECKPOINT [OUTPUT]]]`.

Needs PyTorch (in the clone: `python -m pip install '.[export]'`). Without CHECKPOINT the weights
are fresh.
"""

import sys
import tempfile
from pathlib import Path

import edgevit
from edgevit.doctor import self_test

try:
    from edgevit.export import export_model
except ImportError as exc:
    sys.exit(f"this example needs PyTorch ({exc}); in the clone: python -m pip install '.[export]'")

variant = sys.argv[1] if len(sys.argv) > 1 else "cas_vit_xs"
checkpoint = sys.argv[2] if len(sys.argv) > 2 else None
output = sys.argv[3] if len(sys.argv) > 3 else Path(tempfile.mkdtemp()) / f"{variant}.onnx"

report = export_model(variant, output, checkpoint=checkpoint)
print(f"{report.path}: {report.nodes} nodes, largest error {report.max_error:.1e}")
for test in self_test(report.path):
    print(f"{test.backend}: {test.problem or 'computes what PyTorch computed'}")

with edgevit.Predictor(report.path) as predictor:
    print(predictor.classify(Path(__file__).parent / "pictures" / "airliner.jpg", top_k=1))
