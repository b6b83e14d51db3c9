"""What `edgevit tune` chooses against an exhaustive sweep of the same space, and how long it takes.

The sweep runs every candidate alone in a process of its own, `--runs` predictions each, and
evaluates the accuracy of all that answer differently. Models are converted, and compiled where a
backend keeps that, before, for both. In the end the sweep's best and tune's choice are measured
once more, in turn.

python bench_tune.py [--model MODEL] [--data DIR] [--runs N] [--precisions P ...]
"""

import argparse
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from edgevit import Predictor
from edgevit.core.image.files import evenly_spaced
from edgevit.evaluate import DataSet
from edgevit.tune import Choices, Goal, search
from edgevit.tune.accuracy import AccuracyGate, evaluator_for
from edgevit.tune.candidate import Candidate, space_of
from edgevit.tune.convert import runnable_files
from edgevit.tune.inputs import read_inputs
from edgevit.tune.measure import Images, Measurer
from edgevit.tune.measurement import Measurement
from edgevit.tune.pipeline import MEASURED_IMAGES

PICTURES = Path(__file__).parents[1] / "pictures"
LABELLED = {"airplane": "airliner.jpg", "ship": "ship.jpg", "truck": "truck.jpg"}


def sweep(
    candidates: list[Candidate], images: Images, runs: int, gate: AccuracyGate
) -> Measurement:
    """Measure every candidate; answer the best that is accurate enough, as the reference is."""
    measured = []
    for candidate in candidates:
        with Measurer(images) as measurer:
            measurer.isolate([])
            one = Measurement(candidate, [measurer.measure(candidate, runs)])
        if gate(one):
            measured.append(one)
    return min(measured, key=lambda one: one.p95_ms)


def warm(candidates: list[Candidate]) -> None:
    """Load every candidate once."""
    for candidate in candidates:
        Predictor(candidate.file.path, **candidate.arguments).close()


def p95_in_turn(candidates: list[Candidate], images: Images, turns: int, runs: int) -> list[float]:
    """Measure candidates in turn, each in a process of its own."""
    measured = [Measurement(candidate) for candidate in candidates]
    with Measurer(images) as measurer:
        measurer.isolate(candidates)
        for turn in range(turns):
            for one in measured[:: (-1) ** turn]:
                one.samples.append(measurer.measure(one.candidate, runs))
    return [one.p95_ms for one in measured]


def main() -> None:
    """Print what each found, the time it took, and both p95 measured in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None, help="ONNX file or zoo name")
    parser.add_argument("--data", type=Path, help="labeled pictures, as edgevit eval takes them")
    parser.add_argument("--limit", type=int, default=100, help="pictures for accuracy")
    parser.add_argument("--precisions", nargs="+", default=None)
    parser.add_argument("--threads", nargs="+", type=int, default=None)
    parser.add_argument("--backends", nargs="+", default=None)
    parser.add_argument("--image-size", nargs=2, type=int, metavar=("H", "W"), default=None)
    parser.add_argument("--runs", type=int, default=200, help="predictions of each in the sweep")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        for name, picture in LABELLED.items():
            Path(folder, name).mkdir()
            shutil.copy(PICTURES / picture, Path(folder, name))
        compare(arguments, DataSet(arguments.data or Path(folder), limit=arguments.limit))


def compare(arguments: argparse.Namespace, data: DataSet) -> None:
    """Search, sweep, and measure both results in turn."""
    choices = Choices(
        backends=arguments.backends, precisions=arguments.precisions, threads=arguments.threads
    )
    inputs = read_inputs(arguments.model, data, choices)
    files, notes = runnable_files(inputs, choices.precisions, say=print)
    print(*notes, sep="\n")
    space = space_of(files, inputs.runtimes, choices, has_streams=False)
    candidates = space.candidates()

    size = arguments.image_size and tuple(arguments.image_size)
    warm(candidates)
    report = search(
        arguments.model, data, goal=Goal(), choices=choices, image_size=size, keep=False
    )
    assert report.choice is not None, report.reason
    chosen = report.choice
    print(f"tune:  {chosen.candidate}: p95 {chosen.p95_ms:.2f} ms, in {report.spent_s:.1f} s")

    started = perf_counter()
    images = Images(tuple(evenly_spaced(inputs.images, MEASURED_IMAGES)), size)
    gate = AccuracyGate(
        evaluator_for(data), space.reference, Goal().max_drop, lambda what, done, total: None
    )
    best = sweep(candidates, images, arguments.runs, gate)
    spent = perf_counter() - started
    print(f"sweep: {best.candidate}: p95 {best.p95_ms:.2f} ms, in {spent:.1f} s")

    predictions = sum(row.runs for row in report.rows)
    total = arguments.runs * len(candidates)
    print(
        f"{len(candidates)} candidates; tune took {report.spent_s / spent:.3f} of the sweep's time "
        f"and {predictions / total:.3f} of its predictions"
    )
    again = p95_in_turn([chosen.candidate, best.candidate], images, 5, arguments.runs // 5)
    print(
        f"measured again in turn: p95 {again[0]:.2f} ms against {again[1]:.2f} ms, "
        f"ratio {np.divide(*again):.3f}"
    )


if __name__ == "__main__":
    main()
