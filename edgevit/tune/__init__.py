"""Find the fastest way to run a model on this machine that is accurate enough, by measuring.

    from edgevit.tune import Goal, search

    report = search("cas_vit_s.onnx", "photos", goal=Goal(max_drop=0.5))
    print(report.choice)

`search` writes a device profile, which `Predictor("cas_vit_s.onnx")` obeys from then on.
"""

from edgevit.tune.inputs import Choices
from edgevit.tune.measurement import Measurement
from edgevit.tune.pipeline import search
from edgevit.tune.report import Goal, TuneReport

__all__ = ["Choices", "Goal", "Measurement", "TuneReport", "search"]
