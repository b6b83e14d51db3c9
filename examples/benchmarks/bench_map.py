"""`Predictor.map` over the runtime's own loop: what keeping a queue filled costs and brings.

The loop submits one prepared batch again and again, with as many runs in flight as the session
takes, and reads no outputs; where a session has no queue it calls `run`. Both take turns in one
process. The pictures are arrays, so that decoding is no part of it.

python bench_map.py [--model MODEL] [--backend B] [--device D] [--streams N ...]
"""

import argparse
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

import edgevit
from edgevit.backend import AnyArray, AsyncSession, RunHandle, Session

PICTURE = Path(__file__).parents[1] / "pictures" / "airliner.jpg"


def runtime_loop(session: Session, feeds: dict[str, AnyArray], count: int) -> None:
    """Run `count` times, keeping the session's queue filled where it has one."""
    if not isinstance(session, AsyncSession):
        for _ in range(count):
            session.run(feeds)
        return
    waiting: deque[RunHandle] = deque()
    for _ in range(count):
        waiting.append(session.submit(feeds))
        if len(waiting) == session.max_in_flight:
            waiting.popleft().result()
    for handle in waiting:
        handle.result()


def mapped(
    predictor: edgevit.Predictor, image: NDArray[np.uint8], count: int, workers: int | None
) -> None:
    """Answer `count` pictures."""
    for _ in predictor.map((image for _ in range(count)), workers=workers):
        pass


def rate(work: Callable[[], None], count: int) -> float:
    """Pictures a second."""
    started = perf_counter()
    work()
    return count / (perf_counter() - started)


def rates(
    predictors: list[edgevit.Predictor],
    image: NDArray[np.uint8],
    *,
    count: int,
    rounds: int,
    workers: int | None,
) -> NDArray[np.float64]:
    """Median pictures a second of the loop and of `map`, a row for each Predictor."""
    found = []
    for _ in range(rounds + 1):
        for predictor in predictors:
            session = predictor.session
            batch, geometry = predictor.preprocess(image)
            feeds = predictor.feeds(batch, image_size=geometry.filled_size)
            looped = rate(lambda s=session, f=feeds: runtime_loop(s, f, count), count)
            answered = rate(lambda p=predictor: mapped(p, image, count, workers), count)
            found.append((looped, answered))
    warm = np.array(found[len(predictors) :]).reshape(rounds, len(predictors), 2)
    return np.asarray(np.median(warm, axis=0))


def main() -> None:
    """Print a line for each number of streams."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="ONNX file or zoo name; default: the bundled classifier")
    parser.add_argument("--backend", default="openvino")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--streams", type=int, nargs="+", help="values of the backend's option")
    parser.add_argument("--workers", type=int, help="of map; default: its own")
    parser.add_argument("--preprocess", choices=["exact", "fast"])
    parser.add_argument("--picture-size", type=int, nargs=2, default=(480, 640))
    parser.add_argument("--count", type=int, default=200, help="pictures of a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    image = cv2.resize(cv2.imread(str(PICTURE)), arguments.picture_size[::-1])
    options = [{"streams": count} for count in arguments.streams or []] or [{}]
    predictors = [
        edgevit.Predictor(
            arguments.model,
            backend=arguments.backend,
            device=arguments.device,
            threads=arguments.threads,
            preprocess=arguments.preprocess,
            options=given,
        )
        for given in options
    ]
    found = rates(
        predictors,
        image,
        count=arguments.count,
        rounds=arguments.rounds,
        workers=arguments.workers,
    )
    print(f"{predictors[0]!r}, pictures a second")
    print("streams   loop    map  map/loop  over the first: loop    map")
    for given, row in zip(options, found, strict=True):
        over = row / found[0]
        print(
            f"{given.get('streams', '-'):>7} {row[0]:6.1f} {row[1]:6.1f} {row[1] / row[0]:9.3f}"
            f" {over[0]:21.3f} {over[1]:6.3f}"
        )


if __name__ == "__main__":
    main()
