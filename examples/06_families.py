"""Load, export and predict with each family: `06_families.py [VARIANT=CHECKPOINT...]`.

Needs PyTorch (in the clone: `python -m pip install '.[export]'`). Without arguments one variant of
each family gets fresh weights, in place of those that `edgevit zoo show VARIANT` names.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import edgevit

try:
    import torch

    from edgevit import models
    from edgevit.export import export_model
    from edgevit.export.checkpoint.weights import read_checkpoint
except ImportError as exc:
    sys.exit(f"this example needs PyTorch ({exc}); in the clone: python -m pip install '.[export]'")

PICTURE = Path(__file__).parent / "pictures" / "airliner.jpg"

with tempfile.TemporaryDirectory() as folder:
    checkpoints = dict(argument.split("=", 1) for argument in sys.argv[1:])
    for variant in () if checkpoints else ("cas_vit_xs", "lightvit_tiny", "litv2_s"):
        checkpoints[variant] = f"{folder}/{variant}.pth"
        torch.save(models.create(variant).state_dict(), checkpoints[variant])

    for variant, checkpoint in checkpoints.items():
        loaded = read_checkpoint(checkpoint)
        report = export_model(variant, f"{folder}/{variant}.onnx", checkpoint=checkpoint)
        classes = len(report.spec.class_names)
        module = models.create(variant, classes).eval()
        module.load_state_dict(loaded.state_dict)
        with edgevit.Predictor(report.path) as predictor, torch.no_grad():
            batch, _ = predictor.preprocess(PICTURE)
            error = np.abs(predictor.infer(batch)["logits"] - module(torch.tensor(batch)).numpy())
            print(f"{variant}: {predictor(PICTURE)}")
            print(f"  {report.nodes} nodes, within {error.max():.0e} of PyTorch")
