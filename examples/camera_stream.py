"""Watch a camera or a video: `python examples/camera_stream.py [SOURCE] [--model M] [--output O]`.

SOURCE is a camera's number, its path such as /dev/video0, a video file or a URL. A file is read in
step; of a live source the latest frame wins. Ends with the source, with Ctrl-C, or with q.
"""

import argparse
import os
import queue
import sys
from collections import deque
from contextlib import closing, suppress
from pathlib import Path
from threading import Event, Thread
from time import perf_counter

import cv2

import edgevit

LOST_AFTER_S = 10  # a camera that has given no frame for so long
HAS_DISPLAY = sys.platform in ("win32", "darwin") or {"DISPLAY", "WAYLAND_DISPLAY"} & {*os.environ}


def every_frame(capture):
    while (read := capture.read())[0]:
        yield perf_counter(), read[1]


def latest_frames(capture):
    """Yield (time, frame); a thread reads on, and a newer frame replaces one that waits."""
    slot, stop = queue.Queue(maxsize=1), Event()

    def read():
        is_read = True
        while is_read and not stop.is_set():
            is_read, frame = capture.read()
            with suppress(queue.Empty):
                slot.get_nowait()
            slot.put((perf_counter(), frame) if is_read else None)

    reader = Thread(target=read, daemon=True)
    reader.start()
    try:
        with suppress(queue.Empty):
            while item := slot.get(timeout=LOST_AFTER_S):
                yield item
    finally:  # Python must not end while a thread of its own is inside OpenCV
        stop.set()
        reader.join(timeout=1)


def pressed_key(picture):
    """Show the picture where that is possible: opencv-python-headless has no windows."""
    with suppress(cv2.error):
        if HAS_DISPLAY:
            cv2.imshow("edgevit", picture)
            return chr(cv2.waitKey(1) & 0xFF)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?", default="0")
    parser.add_argument("--model", help="for any task; default: the bundled classifier")
    parser.add_argument("--output", help="video to write, such as drawn.mp4")
    given = parser.parse_args()
    capture = cv2.VideoCapture(int(given.source) if given.source.isdecimal() else given.source)
    if not capture.isOpened():
        sys.exit(f"the source {given.source!r} cannot be opened")
    read = every_frame if Path(given.source).is_file() else latest_frames
    writer, times = cv2.VideoWriter(), deque(maxlen=30)
    with (
        suppress(KeyboardInterrupt),
        edgevit.Predictor(given.model, preprocess="fast") as predictor,
        closing(read(capture)) as stream,
    ):
        for came, frame in stream:
            result = predictor(frame)
            drawn = edgevit.draw(frame, result)
            times.append(perf_counter())
            rate = (len(times) - 1) / max(1e-6, times[-1] - times[0])
            print(f"{rate:5.1f} frames/s, {1e3 * (times[-1] - came):6.1f} ms  {result}")
            if given.output and not writer.isOpened():
                codec, fps = cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS)
                if not writer.open(given.output, codec, fps or 25, frame.shape[1::-1]):
                    sys.exit(f"the video {given.output!r} cannot be written")
            if given.output:
                writer.write(drawn)
            if pressed_key(drawn) == "q":
                break
    writer.release()


if __name__ == "__main__":
    main()
