"""Name what a picture shows: `python examples/01_classify.py [PICTURE [MODEL]]`.

Without MODEL the bundled CIFAR-10 classifier answers.
"""

import sys
from pathlib import Path

import edgevit

PICTURE = Path(__file__).parent / "pictures" / "airliner.jpg"

picture = sys.argv[1] if len(sys.argv) > 1 else PICTURE
model = sys.argv[2] if len(sys.argv) > 2 else None

with edgevit.Predictor(model) as predictor:
    result = predictor.classify(picture, top_k=3)
    for name, score in zip(result.class_names, result.scores, strict=True):
        print(f"{score:6.1%}  {name}")
    spent = ", ".join(f"{stage} {ms:.1f} ms" for stage, ms in result.timings_ms.items())
    print(f"{predictor.spec.name} on {predictor.backend} {predictor.device}: {spent}")
