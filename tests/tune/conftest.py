import pytest

from edgevit.tune.measurement import Sample

TIMES_MS = {"exact": 3.0, "fast": 2.0}


class Simulated:
    """What Measurer is, with times that the test gives."""

    def __init__(self, images, *, mapped=False, spare=0):
        self.mapped = mapped

    def measure(self, candidate, runs):
        is_other = "other" in (candidate.file.path.stem, candidate.file.precision)
        time = TIMES_MS[candidate.preprocess] / (1.5 if is_other else 1)
        return Sample((time,) * runs, time, 1e3 / time)

    def isolate(self, finalists): ...

    def __enter__(self):
        return self

    def __exit__(self, *error): ...


@pytest.fixture
def simulated(monkeypatch):
    monkeypatch.setattr("edgevit.tune.pipeline.Measurer", Simulated)
