from __future__ import annotations

import argparse
import builtins
import hashlib
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict, defaultdict
from contextlib import suppress
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from official_layouts import (  # noqa: E402
    LAYOUTS,
    CfgNode,
    HistoryBuffer,
    cas_vit_ema,
    importable,
    legacy,
    lightvit_train,
    mmcv,
    mmengine_ema,
    other_weights,
    prefixed,
)

from edgevit.errors import ExportError, ModelNotFoundError  # noqa: E402
from edgevit.export.checkpoint.weights import (  # noqa: E402
    load_strictly,
    num_classes_in,
    read_checkpoint,
)
from edgevit.models.cas_vit import CASViT, CASViTConfig, CASViTPyramid  # noqa: E402

pytestmark = pytest.mark.torch

TINY = CASViTConfig(depths=(1, 1, 1, 1), dims=(4, 4, 8, 8))
WIDE = CASViTConfig(depths=(1, 1, 1, 1), dims=(4, 8, 8, 12))


def tiny_model(num_classes: int = 5, config: CASViTConfig = TINY) -> CASViT:
    torch.manual_seed(num_classes)
    return CASViT(config, num_classes)


@pytest.fixture(scope="module")
def weights():
    return tiny_model().state_dict()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.pth"


def assert_same(given, expected):
    assert list(given) == list(expected)
    for key, tensor in expected.items():
        assert given[key].dtype == tensor.dtype
        assert torch.equal(given[key], tensor), key


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_official_layout_gives_the_weights_bit_for_bit(layout, weights, path):
    write, source = LAYOUTS[layout]
    write(path, weights)
    checkpoint = read_checkpoint(path)
    assert_same(checkpoint.state_dict, weights)
    assert checkpoint.source == source
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("layout", ["cas_vit_ema", "lightvit_ema", "mmengine_ema", "timm_ema"])
def test_ema_is_taken_and_said_and_either_can_be_chosen(layout, weights, path):
    write, _ = LAYOUTS[layout]
    write(path, weights)
    assert read_checkpoint(path).notes[0].startswith("EMA weights used (")
    assert "--weights model takes the raw ones" in read_checkpoint(path).notes[0]
    assert_same(read_checkpoint(path, weights="ema").state_dict, weights)
    raw = read_checkpoint(path, weights="model")
    assert_same(raw.state_dict, other_weights(weights))
    assert raw.source in {"model", "state_dict"}
    assert not [note for note in raw.notes if "EMA" in note]


def test_ema_state_dict_of_others_than_mmengine_is_the_average(weights, path):
    raw = other_weights(weights)
    torch.save({"state_dict": raw, "ema_state_dict": dict(weights)}, path)
    assert_same(read_checkpoint(path).state_dict, weights)


@pytest.mark.parametrize("ema", [None, {}, {"decay": 0.9}], ids=["None", "empty", "no tensors"])
def test_empty_ema_is_passed_over(ema, weights, path):
    torch.save({"model": dict(weights), "model_ema": ema}, path)
    assert read_checkpoint(path).source == "model"


def test_only_ema_is_used_and_said(weights, path):
    torch.save({"model_ema": dict(weights)}, path)
    assert read_checkpoint(path).notes == (
        "EMA weights used ('model_ema'); the file has no raw ones",
    )


def test_ema_asked_for_but_absent_lists_what_the_file_holds(weights, path):
    lightvit_train(path, weights)
    with pytest.raises(ExportError, match=r"no EMA weights; it holds 'epoch' \(int\), 'model' \(d"):
        read_checkpoint(path, weights="ema")


def test_ema_asked_of_a_bare_state_dict_is_an_error(weights, path):
    torch.save(dict(weights), path)
    with pytest.raises(ExportError, match="no EMA weights"):
        read_checkpoint(path, weights="ema")


def test_raw_weights_asked_for_but_absent_is_an_error(weights, path):
    torch.save({"model_ema": dict(weights)}, path)
    with pytest.raises(ExportError, match="no raw weights"):
        read_checkpoint(path, weights="model")


def test_removed_prefix_is_noted(weights, path):
    torch.save(prefixed(weights, "module._orig_mod."), path)
    checkpoint = read_checkpoint(path)
    assert_same(checkpoint.state_dict, weights)
    assert checkpoint.notes == ("the prefix 'module._orig_mod.' was removed from every key",)


def test_prefix_that_not_every_key_has_stays(path):
    torch.save({"module.weight": torch.ones(1), "head.bias": torch.ones(1)}, path)
    assert list(read_checkpoint(path).state_dict) == ["module.weight", "head.bias"]


def test_detector_keeps_its_backbone_keys(weights, path):
    mmcv(path, prefixed(weights, "backbone."))
    checkpoint = read_checkpoint(path)
    assert_same(checkpoint.state_dict, prefixed(weights, "backbone."))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes_are_kept_as_stored(dtype, path):
    tensor = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    torch.save({"head.weight": tensor}, path)
    assert_same(read_checkpoint(path).state_dict, {"head.weight": tensor})


def test_weights_outlive_their_file(weights, path):
    torch.save(dict(weights), path)
    state_dict = read_checkpoint(path).state_dict
    path.write_bytes(bytes(path.stat().st_size))
    assert_same(state_dict, weights)


def test_views_of_one_storage_and_parameters_come_out_as_own_tensors(path):
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save({"a": whole.t(), "b": whole[1:], "c": torch.nn.Parameter(whole)}, path)
    read = read_checkpoint(path).state_dict
    assert_same(read, {"a": whole.t(), "b": whole[1:], "c": whole})
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in read.values())


def test_other_dictionaries_beside_the_weights_do_no_harm(weights, path):
    logs = defaultdict(list, {"loss": [0.5]})
    torch.save({"model": dict(weights), "logs": logs}, path)
    assert_same(read_checkpoint(path).state_dict, weights)


UNUSABLE = {
    "tensor": (lambda: torch.ones(2), "holds one Tensor, not a state dict"),
    "list": (lambda: [torch.ones(2)], "holds one list, not a state dict"),
    "namespace": (lambda: argparse.Namespace(a=1), "holds one Namespace, not a state dict"),
    "empty": (dict, "no weights at its top level or under 'state_dict', .* holds nothing"),
    "settings": (lambda: {"epoch": 3, "net": {"w": 1}}, r"holds 'epoch' \(int\), 'net' \(dict\)"),
    "counters": (lambda: {"steps": torch.ones(())}, "no weights at its top level"),
    "not a tensor": (lambda: {"w": torch.ones(2), "lr": 0.1}, "a float named 'lr' among"),
    "key": (lambda: {"w": torch.ones(2), 7: torch.ones(2)}, "a Tensor named 7 among"),
    "sparse": (lambda: {"w": torch.eye(2).to_sparse()}, "a Tensor named 'w' among"),
    "no data": (lambda: {"w": torch.empty(2, device="meta")}, "a Tensor named 'w' among"),
    "stretched": (lambda: {"w": torch.ones(1).expand(10**12)}, "claims 4000000000000 bytes"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_is_no_state_dict_is_refused_by_name(case, path):
    build, message = UNUSABLE[case]
    torch.save(build(), path)
    with pytest.raises(ExportError, match=message):
        read_checkpoint(path)


class Call:
    """Pickles as a call, which a careless reader would make."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def touch(marker: Path) -> str:
    return f"touch {marker}"


def write(marker: Path) -> str:
    return f"open({str(marker)!r}, 'w')"


HOSTILE = {
    "os.system": (lambda m: Call(os.system, touch(m)), r"'(posix|nt)\.system'"),
    "eval": (lambda m: Call(builtins.eval, write(m)), "'builtins.eval'"),
    "exec": (lambda m: Call(builtins.exec, write(m)), "'builtins.exec'"),
    "open": (lambda m: Call(builtins.open, str(m), "w"), r"'(_io|io|builtins)\.open'"),
    "import": (lambda m: Call(builtins.__import__, "this"), "'builtins.__import__'"),
    "Popen": (lambda m: Call(subprocess.Popen, ["touch", str(m)]), r"'(commands|sub.*)\.Popen'"),
    "Path.touch": (lambda m: Call(Path.touch, m), r"'pathlib\.Path'"),
    "torch.hub": (lambda m: Call(torch.hub.load, "x/y", "z"), "'torch.hub.load'"),
    "torch.load": (lambda m: Call(torch.load, str(m)), "'torch.serialization.load'"),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", ["root", "beside", "inside"])
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickle_is_refused_without_side_effect(case, place, zipped, path, tmp_path):
    build, message = HOSTILE[case]
    marker = tmp_path / "marker"
    hostile = build(marker)
    weights = {"w": torch.ones(2)}
    saved = {
        "root": hostile,
        "beside": {"model": weights, "args": argparse.Namespace(x=hostile)},
        "inside": {"model": {**weights, "v": hostile}},
    }[place]
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ExportError, match=message):
        read_checkpoint(path)
    assert not marker.exists()


def test_refusal_names_the_file_and_what_to_do(path):
    torch.save({"model": Call(os.system, "true")}, path)
    with pytest.raises(ExportError, match=r"checkpoint\.pth' .* torch\.save\(model\.state_dict"):
        read_checkpoint(path)


def test_whole_pickled_module_is_refused_by_its_class(path):
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ExportError, match=r"'torch\.nn\.modules\.linear\.Linear'"):
        read_checkpoint(path)


def test_unknown_subclass_of_dict_is_refused_by_name(weights, path):
    class Settings(dict):
        pass

    Settings.__module__, Settings.__qualname__ = "their.code", "Settings"
    with importable(Settings):
        torch.save({"model": dict(weights), "settings": Settings(a=1)}, path)
    with pytest.raises(ExportError, match=r"'their\.code\.Settings'"):
        read_checkpoint(path)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickle_of_a_call_is_refused_in_every_protocol(protocol, path, tmp_path):
    marker = tmp_path / "marker"
    path.write_bytes(pickle.dumps(Call(os.system, touch(marker)), protocol))
    with pytest.raises(ExportError):
        read_checkpoint(path)
    assert not marker.exists()


def test_getattr_of_a_pickle_reaches_nothing(path, tmp_path):
    # getattr(argparse.Namespace, '__init__')(...): allowed names, but stand-ins are not callable.
    stream = b"\x80\x02cbuiltins\ngetattr\ncargparse\nNamespace\nX\x08\x00\x00\x00__init__\x86R)R."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", stream)
        archive.writestr("archive/version", "3\n")
    with pytest.raises(ExportError, match="unrecognized function"):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", [CfgNode, HistoryBuffer])
def test_real_classes_are_not_touched_even_where_importable(kind, weights, path, monkeypatch):
    write, _ = LAYOUTS[{CfgNode: "litv2", HistoryBuffer: "mmengine"}[kind]]
    write(path, weights)

    def called(*_: object) -> None:
        raise AssertionError("the real class was used")

    monkeypatch.setattr(kind, "__new__", called)
    monkeypatch.setattr(kind, "__setstate__", called, raising=False)
    with importable(kind):
        assert_same(read_checkpoint(path).state_dict, weights)


def test_reading_leaves_torchs_safe_globals_as_they_were(weights, path):
    before = torch.serialization.get_safe_globals()
    LAYOUTS["litv2"][0](path, weights)
    read_checkpoint(path)
    assert torch.serialization.get_safe_globals() == before
    assert "yacs" not in sys.modules


def test_environment_cannot_switch_safety_off(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save(Call(os.system, touch(tmp_path / "marker")), path)
    with pytest.raises(ExportError, match="system"):
        read_checkpoint(path)
    assert not (tmp_path / "marker").exists()


def test_missing_file_is_model_not_found(path):
    with pytest.raises(ModelNotFoundError, match=r"no checkpoint file '.*checkpoint\.pth'"):
        read_checkpoint(path)


def test_folder_is_refused(tmp_path):
    with pytest.raises(ExportError, match="cannot be read"):
        read_checkpoint(tmp_path)


OTHER_FILES = {
    "empty": (b"", "is empty"),
    "text": (b"accuracy 82.0\n", r"begins with b'accuracy 82\.0"),
    "web page": (b"\n<!DOCTYPE html><title>Google Drive - Virus scan", "web page"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "tar": (b"weights".ljust(257, b"\0") + b"ustar\x0000", "tar archive"),
    "noise": (random.Random(1).randbytes(4096), "is not a checkpoint of torch.save"),
    "pickle start": (b"\x80\x02" + random.Random(2).randbytes(4096), "truncated, damaged or not"),
    "zip start": (b"PK\x03\x04" + random.Random(3).randbytes(4096), "truncated, damaged or not"),
}


@pytest.mark.parametrize("case", OTHER_FILES)
def test_file_that_is_no_checkpoint_is_refused_in_a_sentence(case, path):
    content, message = OTHER_FILES[case]
    path.write_bytes(content)
    with pytest.raises(ExportError, match=message):
        read_checkpoint(path)


FEW = {"head.weight": torch.ones(5, 8), "norm.num_batches_tracked": torch.tensor(3)}


@pytest.mark.parametrize("layout", ["cas_vit_ema", "litv2", "legacy", "bare"])
def test_file_cut_anywhere_is_refused(layout, path):
    LAYOUTS[layout][0](path, FEW)
    content = path.read_bytes()
    for cut in [*range(1, len(content), len(content) // 40), len(content) - 1]:
        path.write_bytes(content[:cut])
        with pytest.raises(ExportError):
            read_checkpoint(path)


@pytest.mark.parametrize("layout", ["cas_vit_ema", "mmengine", "litv2", "legacy"])
def test_damaged_file_is_refused_or_read_but_raises_nothing_else(layout, path):
    LAYOUTS[layout][0](path, FEW)
    content = path.read_bytes()
    rng = random.Random(0)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(damaged)
        with suppress(ExportError):
            read_checkpoint(path)


def test_flipped_bit_of_a_weight_is_found(path):
    torch.save({"w": torch.full((4,), 1.5)}, path)
    content, weight = path.read_bytes(), struct.pack("<f", 1.5)
    assert weight in content
    path.write_bytes(content.replace(weight, struct.pack("<f", 2.5), 1))
    with pytest.raises(ExportError, match="Bad CRC-32"):
        read_checkpoint(path)


@pytest.mark.skipif(
    not hasattr(torch.serialization, "set_crc32_options"), reason="this torch always writes them"
)
def test_file_without_checksums_is_read(path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(FEW, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(read_checkpoint(path).state_dict, FEW)


def test_zip_bomb_is_refused_before_it_is_unpacked(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    with pytest.raises(ExportError, match="compressed entries"):
        read_checkpoint(path)


def test_zip_of_something_else_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ExportError, match=r"zip archive, but not of torch\.save; unpack it"):
        read_checkpoint(path)


def test_torchscript_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", "")
        archive.writestr("archive/constants.pkl", "")
    with pytest.raises(ExportError, match="TorchScript"):
        read_checkpoint(path)


def test_storage_larger_than_its_file_is_refused(path):
    torch.save({"w": torch.ones(1000)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = "checkpoint/data.pkl"
    entries[name] = entries[name].replace(b"M\xe8\x03", b"M\xff\xff")  # 1000 -> 65535
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(ExportError, match="resize storage"):
        read_checkpoint(path)


def test_newer_pickle_protocol_is_refused_without_a_warning(path):
    torch.save({"w": torch.ones(2)}, path, pickle_protocol=4)
    with pytest.raises(ExportError, match="Unsupported operand"):
        read_checkpoint(path)


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_safetensors_are_read(path):
    data = struct.pack("<6f2He", *range(6), 0x3F80, 0xC000, 0.5)
    header = {
        "__metadata__": {"format": "pt"},
        "a": entry([2, 3], 0, 24),
        "c": entry([1], 28, 30, "F16"),
        "b": entry([2], 24, 28, "BF16"),
        "none": entry([0, 4], 30, 30),
    }
    path.write_bytes(safetensors(header, data))
    checkpoint = read_checkpoint(path)
    assert checkpoint.source == "root"
    assert checkpoint.state_dict["a"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert checkpoint.state_dict["b"].tolist() == [1.0, -2.0]
    assert checkpoint.state_dict["c"].tolist() == [0.5]
    assert checkpoint.state_dict["none"].shape == (0, 4)


MALFORMED_SAFETENSORS = {
    "header cut": struct.pack("<Q", 1000) + b'{"a":',
    "huge header": struct.pack("<Q", 2**63) + b'{"a":',
    "not JSON": struct.pack("<Q", 6) + b'{"a"::',
    "nested": struct.pack("<Q", 100_001) + b'{"' + b"[" * 99_999,
    "entry is a number": safetensors({"a": 1}),
    "no dtype": safetensors({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "unknown dtype": safetensors({"a": entry([1], 0, 4, "Q4")}, bytes(4)),
    "data cut": safetensors({"a": entry([2], 0, 8)}, bytes(7)),
    "hole": safetensors({"a": entry([1], 4, 8)}, bytes(8)),
    "overlap": safetensors({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, bytes(4)),
    "wrong size": safetensors({"a": entry([3], 0, 8)}, bytes(8)),
    "negative": safetensors({"a": entry([-1, -1], 0, 4)}, bytes(4)),
    "endless": safetensors({"a": entry([2**40, 2**40], 0, 2**82)}, bytes(4)),
    "strange shape": safetensors({"a": entry([0, 2**80], 0, 0)}, bytes(4)),
    "shape of text": safetensors({"a": {**entry([1], 0, 4), "shape": "4"}}, bytes(4)),
}


@pytest.mark.parametrize("case", MALFORMED_SAFETENSORS)
def test_malformed_safetensors_are_refused(case, path):
    path.write_bytes(MALFORMED_SAFETENSORS[case])
    with pytest.raises(ExportError, match="is not a whole safetensors file"):
        read_checkpoint(path)


def test_text_named_safetensors_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_text("hello")
    with pytest.raises(ExportError, match="is not a whole safetensors file"):
        read_checkpoint(tmp_path / "x.safetensors")


def test_loaded_model_answers_as_the_one_that_was_saved(path):
    saved, image = tiny_model().eval(), torch.randn(1, 3, 32, 32)
    cas_vit_ema(path, saved.state_dict())
    loaded = CASViT(TINY, num_classes=5).eval()
    load_strictly(loaded, read_checkpoint(path).state_dict)
    assert torch.equal(loaded(image), saved(image))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floating_dtypes_are_cast_to_the_models(dtype, weights):
    cast = {k: t.to(getattr(torch, dtype)) for k, t in weights.items()}
    model = tiny_model(num_classes=5)
    load_strictly(model, cast)
    expected = {k: t.to(weights[k].dtype) for k, t in cast.items()}
    assert_same(model.state_dict(), expected)


def test_counters_and_computed_buffers_may_be_absent():
    class Attention(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(2)
            self.register_buffer("relative_position_index", torch.arange(4))

    model = Attention()
    optional = ("relative_position_index", "norm.num_batches_tracked")
    given = {k: t + 1 for k, t in model.state_dict().items() if k not in optional}
    load_strictly(model, given)
    assert torch.equal(model.norm.bias, torch.ones(2))
    assert model.relative_position_index.tolist() == [0, 1, 2, 3]


def test_report_counts_and_names_what_differs(weights):
    given = dict(weights)
    given |= {"extra.weight": torch.ones(1), "norm.bias": torch.ones(3)}
    for key in ("patch_embed.0.bias", "patch_embed.1.bias", "patch_embed.3.bias", "norm.weight"):
        del given[key]
    missing = r"4 missing \('patch_embed.0.bias', 'patch_embed.1.bias', 'patch_embed.3.bias', ...\)"
    unexpected = r"1 unexpected \('extra.weight'\)"
    reshaped = r"1 of another shape \('norm.bias' is float32 \(3,\), not float32 \(8,\)\)"
    with pytest.raises(ExportError, match=f"fit CASViT: {missing}; {unexpected}; {reshaped}"):
        load_strictly(tiny_model(), given)


def test_model_is_unchanged_when_weights_do_not_fit(weights):
    model = tiny_model(num_classes=5)
    before = {k: t.clone() for k, t in model.state_dict().items()}
    given = other_weights(weights)
    del given["norm.bias"]
    with pytest.raises(ExportError, match="Check that the variant"):
        load_strictly(model, given)
    assert_same(model.state_dict(), before)


def test_other_number_of_classes_is_named():
    message = "has 37 classes and the model 5: pass --num-classes 37"
    with pytest.raises(ExportError, match=message):
        load_strictly(tiny_model(5), tiny_model(37).state_dict())


@pytest.mark.parametrize("num_classes", [5, 37])
def test_other_variant_is_named_whatever_its_classes(num_classes):
    variants = {"tiny": tiny_model, "wide": lambda: tiny_model(1000, WIDE)}
    with pytest.raises(ExportError, match="These are the weights of 'wide': export that name"):
        load_strictly(tiny_model(), tiny_model(num_classes, WIDE).state_dict(), variants=variants)


def test_variants_are_not_built_where_the_weights_fit(weights):
    def build() -> CASViT:
        raise AssertionError("built")

    load_strictly(tiny_model(), weights, variants={"wide": build})


def test_missing_distillation_head_is_explained(weights):
    given = {k: t for k, t in weights.items() if not k.startswith("dist_head.")}
    with pytest.raises(ExportError, match="without the distillation head"):
        load_strictly(tiny_model(), given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: prefixed(CASViTPyramid(TINY).state_dict(), "backbone."), "begin with 'backbone"),
        (lambda: CASViTPyramid(TINY).state_dict(), "a dense backbone, not of a classifier"),
    ],
    ids=["detector", "dense backbone"],
)
def test_dense_weights_in_a_classifier_are_recognised(given, message):
    with pytest.raises(ExportError, match=message):
        load_strictly(tiny_model(), given())


def test_classifier_weights_in_a_detector_are_recognised(weights):
    detector = torch.nn.ModuleDict({"backbone": CASViTPyramid(TINY)})
    with pytest.raises(ExportError, match="a detector or segmenter is asked for"):
        load_strictly(detector, weights)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_value_that_is_not_finite_is_refused_by_name(value, weights):
    given = {**weights, "norm.bias": torch.full((8,), value)}
    with pytest.raises(ExportError, match=r"'norm\.bias' of the checkpoint has NaN or infinite"):
        load_strictly(tiny_model(), given)


def test_double_that_overflows_in_float32_is_refused(weights):
    given = {**weights, "norm.bias": torch.full((8,), 1e300, dtype=torch.float64)}
    with pytest.raises(ExportError, match=r"infinite values as float32 \(8,\)"):
        load_strictly(tiny_model(), given)


@pytest.mark.parametrize("dtype", ["int8", "complex64"])
def test_dtypes_that_are_no_real_numbers_are_refused(dtype, weights):
    given = {**weights, "norm.bias": torch.ones(8, dtype=getattr(torch, dtype))}
    with pytest.raises(ExportError, match=rf"'norm.bias' is {dtype} \(8,\), not float32 \(8,\)"):
        load_strictly(tiny_model(), given)


@pytest.mark.parametrize(
    ("state_dict", "expected"),
    [
        ({}, None),
        ({"head.bias": torch.ones(3)}, None),
        ({"head.weight": torch.ones(3)}, None),
        ({"head.weight": torch.ones(37, 8)}, 37),
    ],
    ids=["empty", "bias alone", "not linear", "linear"],
)
def test_number_of_classes_is_read_from_the_head(state_dict, expected):
    assert num_classes_in(state_dict) == expected


def test_no_layout_makes_torch_warn(weights, path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for layout in (legacy, mmengine_ema):
            layout(path, OrderedDict(weights))
            read_checkpoint(path)
