import json
import os
import time

import pytest
from click.testing import CliRunner

from edgevit.cli import main

pytest.importorskip("edgevit_openvino", reason="OpenVINO is not installed")


@pytest.fixture
def folder(cache):
    return cache / "openvino"


def run(*arguments):
    return CliRunner().invoke(main, ["cache", *map(str, arguments)])


def warm(tiny, *arguments):
    result = run("warm", tiny, "--backend", "openvino", "--threads", 1, *arguments)
    assert result.exit_code == 0
    return result.output


def entries():
    return json.loads(run("list", "--json").stdout)["entries"]


def test_warm_builds_once(tiny):
    assert "tiny on openvino cpu: built in " in warm(tiny)
    assert warm(tiny) == "tiny on openvino cpu: already there\n"


def test_warm_says_why_it_builds(tiny):
    warm(tiny)
    assert "(config INFERENCE_NUM_THREADS 1 -> 2)" in warm(tiny, "--threads", 2)


def test_warm_repairs_a_damaged_model(tiny, folder):
    warm(tiny)
    next(folder.glob("*.blob")).write_bytes(b"damaged")
    assert "was damaged (7 bytes, not " in warm(tiny)
    assert warm(tiny).endswith("already there\n")


def test_warm_takes_several_models(tiny, tmp_path):
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(tiny.read_bytes())
    assert len(warm(tiny, copy).splitlines()) == 2
    assert len(entries()) == 1


def test_warm_says_that_a_backend_keeps_nothing(tiny):
    pytest.importorskip("edgevit_onnxruntime", reason="ONNX Runtime is not installed")
    result = run("warm", tiny, "--backend", "onnxruntime")
    assert result.output == "tiny on onnxruntime cpu: loaded; backend 'onnxruntime' keeps nothing\n"


def test_warm_of_a_model_that_is_not_there_is_one_sentence():
    result = run("warm", "nowhere.onnx")
    assert result.exit_code == 1
    assert result.stderr == "edgevit: there is no model file 'nowhere.onnx'\n"


def test_list_fits_80_columns_and_names_all(tiny, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    warm(tiny)
    lines = run("list").output.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].split() == ["backend", "model", "device", "size", "age", "last", "use"]
    assert lines[1].split()[:5] == ["openvino", "tiny", "cpu", "f32", "0.0"]
    assert lines[2].startswith("1 in ")


def test_list_cuts_nothing_but_long_names(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    model = tmp_path / f"{'long' * 25}.onnx"
    model.write_bytes(tiny.read_bytes())
    warm(model)
    line = run("list").output.splitlines()[1].rstrip()
    assert line.startswith("openvino longlong")
    assert line.endswith("\u2026 cpu f32 0.0 MiB < 1 min < 1 min")


def test_list_as_json_has_every_fact(tiny, folder):
    warm(tiny)
    (entry,) = entries()
    assert (entry["backend"], entry["name"], entry["model"]) == ("openvino", "tiny", str(tiny))
    assert entry["size_bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert entry["facts"]["device"] == "CPU"
    assert (entry["why"], entry["problem"]) == ("first build", None)
    assert abs(entry["used_at"] - time.time()) < 3600


def test_list_of_an_empty_cache_is_empty(cache):
    assert entries() == []
    assert run("list").output.endswith(f"0 in {cache}, 0.0 MiB\n")


@pytest.mark.parametrize(
    ("age_s", "shown"), [(5, "< 1 min"), (300, "5 min"), (7300, "2 h"), (200_000, "2 d")]
)
def test_list_says_when_an_entry_was_last_used(age_s, shown, tiny, folder):
    warm(tiny)
    for path in folder.iterdir():
        os.utime(path, (time.time() - age_s,) * 2)
    assert run("list").output.splitlines()[1].rstrip().endswith(shown)


def test_list_shows_what_is_wrong(tiny, folder):
    warm(tiny)
    next(folder.glob("*.json")).unlink()
    assert "(it has no record)" in run("list").output
    assert entries()[0]["problem"] == "it has no record"


def test_why_tells_reason_and_state_of_each(tiny, folder):
    warm(tiny)
    warm(tiny, "--threads", 2)
    assert sorted(line.partition(": ")[2] for line in run("why", tiny).output.splitlines()) == [
        "config INFERENCE_NUM_THREADS 1 -> 2; whole",
        "first build; whole",
    ]
    for blob in folder.glob("*.blob"):
        blob.write_bytes(bytes(blob.stat().st_size))
    assert run("why", tiny).output.count("was damaged (sha256 differs)") == 2


def test_why_knows_an_earlier_file(tiny, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny.read_bytes())
    warm(model)
    model.write_bytes(tiny.read_bytes() + bytes.fromhex("2800"))  # model_version = 0
    assert run("why", model).output.endswith("first build; whole, of an earlier file\n")
    assert "(the model file changed)" in warm(model)


def test_why_as_json_is_one_document(tiny):
    warm(tiny)
    document = json.loads(run("why", tiny, "--json").stdout)
    assert document["model"] == str(tiny)
    assert [entry["why"] for entry in document["entries"]] == ["first build"]


def test_why_of_a_model_that_was_never_built_says_so(tiny):
    result = run("why", tiny)
    assert result.exit_code == 0
    assert result.output == (
        "no compiled model of tiny.onnx is kept; `edgevit cache warm` makes one\n"
    )


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ((), 2),
        (("--all",), 0),
        (("--all", "--dry-run"), 2),
        (("--older-than", 10), 1),
        (("--older-than", "0.0"), 0),
        (("--limit", "1"), 0),
        (("--limit", "1.5 GiB"), 2),
    ],
)
def test_prune_keeps_what_is_wanted(options, left, tiny, folder):
    warm(tiny)
    for path in folder.iterdir():
        os.utime(path, (time.time() - 20 * 86400,) * 2)
    warm(tiny, "--threads", 2)
    result = run("prune", *options)
    assert result.exit_code == 0
    assert len(entries()) == left
    verb = "would be removed" if "--dry-run" in options else "removed"
    gone = 2 if "--dry-run" in options else 2 - left
    assert result.output.splitlines()[-1].startswith(f"{gone} {verb}, ")


def test_prune_removes_damage_and_says_what(tiny, folder):
    warm(tiny)
    next(folder.glob("*.json")).write_bytes(b"{}")
    (folder / "notes.txt").write_text("mine")
    assert ".json is not a whole record, 0.0 MiB" in run("prune").output
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("size", ["much", "-1", "2X", "1.G"])
def test_limit_that_is_no_size_is_wrong_usage(size):
    result = run("prune", f"--limit={size}")
    assert result.exit_code == 2
    assert f"'{size}' is not a size" in result.stderr


def test_cache_that_cannot_be_read_is_one_sentence(tiny, monkeypatch):
    from edgevit.cli import cache as module

    def refuse():
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "cache_folders", refuse)
    for command in (("list",), ("why", tiny), ("prune",)):
        result = run(*command)
        assert result.exit_code == 1
        assert "cannot be used: [Errno 13] Permission denied" in result.stderr
