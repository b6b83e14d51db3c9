"""What all commands have in common."""

import logging
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edgevit.cli import main
from edgevit.cli.main import COMMANDS
from edgevit.cli.options import RENAMED
from edgevit.cli.progress import progress_bar

CLI = Path(__file__).parents[2] / "edgevit" / "cli"


def all_commands():
    """Words of every command, groups and their commands too."""
    context = click.Context(main)
    for name in COMMANDS:
        yield (name,)
        inner = getattr(main.get_command(context, name), "commands", ())
        yield from ((name, word) for word in inner)


EVERY = [(), *all_commands()]


def command_of(words):
    command = main
    for word in words:
        command = command.get_command(click.Context(command), word)
    return command


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def image(tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((40, 60, 3), np.uint8))
    return tmp_path / "image.png"


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_help_has_an_example_and_fits_80_columns(words):
    lines = run(*words, "--help").output.splitlines()
    assert any(re.match(r"    edgevit ", line) for line in lines[lines.index("  Examples:") :])
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("words", EVERY[1:], ids=" ".join)
def test_the_options_of_an_example_exist(words):
    lines = command_of(words).epilog.replace("\\\n", "").splitlines()[2:]
    for _, *rest in map(shlex.split, lines):
        shown = command_of(rest[:2] if rest[0] in ("cache", "zoo") else rest[:1])
        known = {name for parameter in shown.params for name in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known


@pytest.mark.parametrize(("place", "option"), RENAMED.items(), ids=str)
def test_a_former_spelling_is_refused_with_the_new_one(place, option):
    command, former = place
    result = run(command, former, "x")
    assert result.exit_code == 2
    assert f"{former} is spelled {option} now" in result.stderr
    assert option in run(command, "--help").output


@pytest.mark.parametrize("command", ["bench", "parity", "tune"])
def test_backends_are_a_list_everywhere(command):
    words = [command, "--backend", "a,b", "--backend", "c", "m.onnx", "--data", "."]
    context = command_of([command]).make_context(command, words[1:])
    assert context.params["backends"] == ("a", "b", "c")


@pytest.mark.parametrize(
    ("words", "meant"), [(("clasify",), "classify"), (("zoo", "lst"), "list")], ids=str
)
def test_a_mistyped_command_gets_a_suggestion_before_the_list(words, meant):
    result = run(*words)
    assert result.exit_code == 2
    assert f"no command {words[-1]!r} (did you mean {meant!r}?); there are " in result.stderr


def test_debug_works_after_the_command(image):
    result = run("classify", image, "--model", "nowhere.onnx", "--debug")
    assert type(result.exception).__name__ == "ModelNotFoundError"


@pytest.mark.parametrize("words", [("-v", "classify"), ("classify", "-v")], ids=" ".join)
def test_verbose_works_before_and_after_the_command(words, tiny, image):
    command = [sys.executable, "-m", "edgevit", *words, image, "--model", tiny]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "backend auto: " in done.stderr


def test_verbose_is_the_same_as_v(tiny, image, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "level", logging.WARNING)
    assert run("classify", image, "--model", tiny, "--verbose").exit_code == 0


def test_a_command_of_another_task_is_named(tiny, image):
    result = run("detect", image, "--model", tiny)
    assert result.exit_code == 1
    assert f"use `edgevit classify IMAGE --model {tiny}`" in result.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("detect", "IMAGE", "--model", "tiny_anchors", "--masks"),
            "boxes only; leave --masks out",
        ),
        (("eval", "tiny", "--data", "DIR", "--first-class", 1), "--first-class does not apply to"),
        (
            ("eval", "tiny_classes", "--data", "DIR", "--class-names", "FILE"),
            "--class-names does not apply to",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_messages_name_options_and_not_arguments_of_python(tiny, image, words, sentence):
    (image.parent / "names.txt").write_text("a\nb\n")
    places = {"IMAGE": image, "DIR": image.parent, "FILE": image.parent / "names.txt"}
    places |= {name: tiny.with_name(f"{name}.onnx") for name in ("tiny_anchors", "tiny_classes")}
    result = run(*(places.get(word, tiny if word == "tiny" else word) for word in words))
    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr


def test_nothing_detected_says_so_above_which_score(tiny, image):
    model = tiny.with_name("tiny_anchors.onnx")
    result = run("detect", image, "--model", model, "--score-threshold", 1, "--class", "red")
    assert result.output.splitlines()[1:] == ["  no red found above score 1.00"]
    quiet = run("detect", image, "--model", model, "--score-threshold", 1, "--json")
    assert "found above" not in quiet.output


def test_zoo_list_says_how_to_get_what_is_not_here():
    assert run("zoo", "list").output.endswith(
        "`edgevit zoo show MODEL` says how to get one that is not here.\n"
    )


def test_there_is_one_progress_bar():
    users = [path.name for path in CLI.glob("*.py") if "rich.progress" in path.read_text()]
    assert users == ["progress.py"]


def test_the_bar_shows_the_step_under_way_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar(tells_steps=True) as show:
        show("accuracy of [a]", 3, 4)
    shown = capsys.readouterr().err
    assert "accuracy of [a]" in shown
    assert "done" not in shown


def test_without_a_terminal_the_bar_is_silent_or_tells_what_is_done(capsys):
    for tells_steps in (False, True):
        with progress_bar(tells_steps=tells_steps) as show:
            show("round 1", 1, 2)
            show("round 1", 2, 2)
    assert capsys.readouterr().err == "round 1: done\n"
