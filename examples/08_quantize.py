"""Write a model with int8 arithmetic: `08_quantize.py [MODEL [PICTURES [OUTPUT]]]`.

Needs onnx (in the clone: `python -m pip install '.[quantize]'`). PICTURES is a folder of about a
hundred of the kind that the model will see; the rendered ones that are taken without it are too few
to rely on.
"""

import sys
import tempfile
from pathlib import Path

import edgevit
from edgevit.doctor import self_test

try:
    from edgevit.convert import quantize
except ImportError as exc:
    sys.exit(f"this example needs onnx ({exc}); in the clone: python -m pip install '.[quantize]'")

pictures = Path(__file__).parent / "pictures"
model = sys.argv[1] if len(sys.argv) > 1 else edgevit.Predictor().path
folder = sys.argv[2] if len(sys.argv) > 2 else pictures
output = sys.argv[3] if len(sys.argv) > 3 else Path(tempfile.mkdtemp()) / "int8.onnx"

report = quantize(model, output, folder, limit=8)
for name, speed in report.speeds.items():
    print(f"{name}: {speed.float32_ms:.2f} ms in float32, {speed.int8_ms:.2f} ms in int8")
print(f"{report.path}: answers change by {report.error:.1%}, made for {report.backend}")
for note in report.notes:
    print(f"note: {note}")
for test in self_test(report.path):
    print(f"{test.backend}: {test.problem or 'computes what the file says'}")

with edgevit.Predictor(report.path) as predictor:
    print(predictor.classify(pictures / "airliner.jpg", top_k=1))
