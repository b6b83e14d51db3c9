"""How long a new process takes to its first answer, against a bare script that does the same.

python bench_start.py [--model MODEL] [--backend B] [--runs N]

Whole processes, started in turn: `import edgevit` against `import numpy`, and a first answer by
edgevit against one by the runtime and OpenCV alone.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

import edgevit

PICTURE = Path(__file__).parents[1] / "pictures" / "airliner.jpg"
# Installed packages run from compiled bytecode; a checkout does after its first run, if it may.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

ANSWER = """
import sys, edgevit
predictor = edgevit.Predictor(sys.argv[1], backend={backend!r})
print(predictor.classify(sys.argv[2]).class_names[0])
"""

PREPARE = """
import sys, cv2, numpy as np
size = int(sys.argv[3])
image = cv2.imread(sys.argv[2])
scale = size / min(image.shape[:2])
image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
top, left = ((side - size) // 2 for side in image.shape[:2])
image = image[top:top + size, left:left + size, ::-1].transpose(2, 0, 1)[None] / 255
mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
batch = ((image - mean) / std).astype(np.float32)
"""

BARE = {
    "onnxruntime": """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print(session.run(None, {session.get_inputs()[0].name: batch})[0].argmax())
""",
    "openvino": """
sys.modules["openvino_telemetry"] = None  # or importing OpenVINO reports to its makers
import openvino
model = openvino.Core().compile_model(sys.argv[1], "CPU", {"PERFORMANCE_HINT": "LATENCY"})
print(model([batch])[0].argmax())
""",
}


def seconds(program: str, *arguments: object) -> float:
    """Time one process."""
    started = perf_counter()
    command = [sys.executable, "-c", program, *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    return perf_counter() - started


def ratio(ours: str, theirs: str, arguments: tuple[object, ...], runs: int) -> str:
    """Run both in turn; describe the medians and the median ratio."""
    for program in (ours, theirs):
        seconds(program, *arguments)
    pairs = [[seconds(program, *arguments) for program in (ours, theirs)] for _ in range(runs)]
    first, second = np.array(pairs).T
    shown = f"{1e3 * np.median(first):.0f} ms against {1e3 * np.median(second):.0f} ms"
    return f"{shown}, ratio {np.median(first / second):.2f}"


def main() -> None:
    """Print the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None, help="ONNX file or zoo name")
    parser.add_argument("--backend", choices=BARE, default="onnxruntime")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    with edgevit.Predictor(options.model, backend=options.backend) as predictor:
        arguments = (predictor.path, PICTURE, predictor.spec.input.size[0])
    print("import:", ratio("import edgevit", "import numpy", (), options.runs))
    answer = ANSWER.format(backend=options.backend)
    bare = PREPARE + BARE[options.backend]
    print(f"first answer on {options.backend}:", ratio(answer, bare, arguments, options.runs))


if __name__ == "__main__":
    main()
