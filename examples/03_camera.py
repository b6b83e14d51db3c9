"""Name what a camera or a video shows: `python examples/03_camera.py [SOURCE [FRAMES]]`.

SOURCE is a camera's number, a video file or a stream's address; FRAMES ends after so many.
"""

import sys
from collections.abc import Iterator
from itertools import islice

import cv2

import edgevit


def frames(source: str) -> Iterator[cv2.typing.MatLike]:
    """Yield BGR frames until the source ends."""
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not capture.isOpened():
        sys.exit(f"the source {source!r} cannot be opened")
    try:
        while (read := capture.read())[0]:
            yield read[1]
    finally:
        capture.release()


source = sys.argv[1] if len(sys.argv) > 1 else "0"
limit = int(sys.argv[2]) if len(sys.argv) > 2 else None

with edgevit.Predictor(preprocess="fast") as predictor:
    for result in predictor.map(islice(frames(source), limit)):
        print(f"{result.class_names[0]:12} {result.scores[0]:.0%}")
