"""The camera script: sources, tasks, what it shows and writes, and how it ends."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from paths import EXAMPLES

import edgevit

SCRIPT = EXAMPLES / "camera_stream.py"
VIDEOS = Path(os.environ.get("EDGEVIT_TEST_DATA", os.devnull)) / "video"
FRAMES = 5


@pytest.fixture
def script():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("camera_stream", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def main(script, monkeypatch):
    """Runs the script in this process with arguments."""

    def main(*arguments):
        monkeypatch.setattr(sys, "argv", ["camera_stream.py", *map(str, arguments)])
        script.main()

    return main


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for index in range(FRAMES):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[0:16, 16:32, 2] = 255 - 20 * index
        writer.write(frame)
    writer.release()
    return path


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


class FakeCamera:
    """Answers 0 in place of a frame, more numbers once that is taken, then hangs till unplugged."""

    def __init__(self, count):
        self.numbers = iter(range(count))
        self.is_taken, self.is_at_end, self.is_unplugged = Event(), Event(), Event()

    def read(self):
        for number in self.numbers:
            if number:
                self.is_taken.wait(10)
            return True, number
        self.is_at_end.set()
        self.is_unplugged.wait(10)
        return False, None


@pytest.mark.parametrize("model", ["tiny", "tiny_anchors", "tiny_boxes", "tiny_logits"])
def test_every_task_is_watched_frame_by_frame(clip, tiny, model):
    command = [sys.executable, SCRIPT, clip, "--model", tiny.with_name(f"{model}.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == FRAMES
    assert all(" frames/s, " in line and " ms  " in line and "red" in line for line in lines)


def test_the_drawn_frames_are_written(main, clip, tiny, tmp_path):
    output = tmp_path / "drawn.mp4"
    main(clip, "--model", tiny.with_name("tiny_anchors.onnx"), "--output", output)
    drawn = frames_of(output)
    assert len(drawn) == FRAMES
    assert cv2.VideoCapture(str(output)).get(cv2.CAP_PROP_FPS) == 10
    difference = np.abs(drawn[0].astype(int) - frames_of(clip)[0])
    assert difference.max() > 100


def test_a_real_clip_is_read_to_its_end(main, tiny, capsys):
    clip = VIDEOS / "car-detection.mp4"
    if not clip.is_file():
        pytest.skip("EDGEVIT_TEST_DATA holds no such video")
    main(clip, "--model", tiny.with_name("tiny_anchors.onnx"))
    assert len(capsys.readouterr().out.splitlines()) == 377


def test_the_latest_frame_of_a_live_source_wins(script):
    camera = FakeCamera(50)
    stream = script.latest_frames(camera)
    first = next(stream)
    camera.is_taken.set()
    assert camera.is_at_end.wait(10)
    latest = next(stream)
    camera.is_unplugged.set()
    assert (first[1], latest[1]) == (0, 49)
    assert first[0] < latest[0]
    assert list(stream) == []


def test_a_camera_that_ends_ends_the_stream(script):
    camera = FakeCamera(1)
    stream = script.latest_frames(camera)
    assert next(stream)[1] == 0
    camera.is_unplugged.set()
    assert list(stream) == []


def test_a_camera_that_hangs_ends_the_stream(script, monkeypatch):
    monkeypatch.setattr(script, "LOST_AFTER_S", 0.05)
    camera = FakeCamera(0)
    stream = script.latest_frames(camera)
    monkeypatch.setattr(script.Thread, "join", lambda self, timeout: camera.is_unplugged.set())
    assert list(stream) == []


def test_leaving_early_ends_the_reading_thread(script):
    camera = FakeCamera(10**9)
    stream = script.latest_frames(camera)
    next(stream)
    camera.is_taken.set()
    stream.close()
    stopped_at = next(camera.numbers)
    assert next(camera.numbers) == stopped_at + 1


def test_only_what_is_no_file_is_live(script, main, clip, tiny, monkeypatch, capsys):
    live = []
    monkeypatch.setattr(
        script, "latest_frames", lambda capture: live.append(1) or script.every_frame(capture)
    )
    main(clip, "--model", tiny)
    assert not live
    monkeypatch.setattr(script, "Path", lambda name: SimpleNamespace(is_file=lambda: False))
    main(clip, "--model", tiny)
    assert len(live) == 1
    assert len(capsys.readouterr().out.splitlines()) == 2 * FRAMES


def test_an_interrupt_leaves_a_whole_video(main, clip, tiny, tmp_path, monkeypatch, capsys):
    answer, answered = edgevit.Predictor.__call__, []

    def interrupted(self, image):
        if len(answered) == 2:
            raise KeyboardInterrupt
        answered.append(image)
        return answer(self, image)

    monkeypatch.setattr(edgevit.Predictor, "__call__", interrupted)
    main(clip, "--model", tiny, "--output", tmp_path / "drawn.mp4")
    assert len(frames_of(tmp_path / "drawn.mp4")) == len(capsys.readouterr().out.splitlines()) == 2


def test_a_window_shows_the_drawn_frames_until_q(script, main, clip, tiny, monkeypatch, capsys):
    shown, keys = [], iter((-1, ord("x"), ord("q")))
    monkeypatch.setattr(script, "HAS_DISPLAY", True)
    monkeypatch.setattr(cv2, "imshow", lambda name, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: next(keys))
    main(clip, "--model", tiny)
    assert len(shown) == len(capsys.readouterr().out.splitlines()) == 3
    assert not np.array_equal(shown[0], frames_of(clip)[0])


def test_an_opencv_without_windows_goes_on_without(script, main, clip, tiny, monkeypatch, capsys):
    def refuse(name, picture):
        raise cv2.error("not implemented")

    monkeypatch.setattr(script, "HAS_DISPLAY", True)
    monkeypatch.setattr(cv2, "imshow", refuse)
    main(clip, "--model", tiny)
    assert len(capsys.readouterr().out.splitlines()) == FRAMES


def test_what_cannot_be_opened_or_written_is_said(main, clip, tiny, tmp_path):
    with pytest.raises(SystemExit, match=r"the source 'nowhere\.mp4' cannot be opened"):
        main("nowhere.mp4")
    with pytest.raises(SystemExit, match=r"the video '.*drawn\.mp4' cannot be written"):
        main(clip, "--model", tiny, "--output", tmp_path / "nowhere" / "drawn.mp4")


def test_the_script_stays_short():
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) < 100
