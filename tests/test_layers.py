"""Which part of edgevit may import which, and what importing it loads."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edgevit"
VENDORS = {"torch", "onnx", "onnxruntime", "openvino", "tensorrt"}

# Folder or module -> what of edgevit it may import; None: anything.
LAYERS = {
    "_lazy": set(),
    "core": {"core"},
    "errors": {"core"},
    "backend": {"core", "_lazy"},
    "zoo": {"core"},
    "draw": {"core"},
    "adapters": {"core"},
    "testing": {"core", "backend", "errors", "testing"},
    "predictor": {"core", "zoo"},
    "benchmark": {"core", "predictor", "benchmark"},
    "doctor": {"core", "predictor", ""},
    "parity": {"core", "predictor", "parity"},
    "evaluate": {"core", "predictor", "adapters", "evaluate"},
    # It composes the others by its purpose; quantize and export by name, where they are installed.
    "tune": {"core", "predictor", "zoo", "evaluate", "tune", ""},
    "models": {"core", "models"},
    # quantising calibrates and measures with the model as it will be used
    "export": {"core", "models", "export", "predictor", "evaluate", "_lazy", ""},
    "cli": None,
    "__main__": {"cli"},
    "__init__": {"core", "predictor", "draw", "_lazy"},
}

SOURCES = sorted(PACKAGE.rglob("*.py"))
PLUGINS = sorted((ROOT / "backends").rglob("*.py"))


def layer_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module


def edgevit_layers(path):
    for module in imported_modules(path):
        top, _, rest = module.partition(".")
        if top == "edgevit":
            yield rest.split(".")[0]


def relative_name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=relative_name)
def test_imports_run_one_way(path):
    allowed = LAYERS[layer_of(path)]
    assert allowed is None or set(edgevit_layers(path)) <= allowed


@pytest.mark.parametrize("path", SOURCES, ids=relative_name)
def test_only_models_and_export_import_torch_or_a_vendor(path):
    imported = {module.split(".")[0] for module in imported_modules(path)}
    assert layer_of(path) in ("models", "export") or not imported & VENDORS


@pytest.mark.parametrize("path", PLUGINS, ids=relative_name)
def test_plugins_import_public_names_only(path):
    assert set(edgevit_layers(path)) <= {"backend", "errors"}


@pytest.mark.parametrize("path", SOURCES, ids=relative_name)
def test_only_the_command_line_prints(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    printed = [
        call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]
    assert layer_of(path) == "cli" or not printed


def modules_after(statement):
    program = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in run.stdout.split()}


def test_importing_edgevit_is_light():
    heavy = VENDORS | {"cv2", "yaml", "click", "rich", "PIL", "matplotlib", "filelock"}
    assert not modules_after("import edgevit") & heavy


def test_predicting_loads_neither_torch_nor_onnx_nor_the_command_line(tiny):
    statement = f"import edgevit; edgevit.Predictor({str(tiny)!r}, backend='onnxruntime')"
    assert not modules_after(statement) & {
        "torch",
        "onnx",
        "openvino",
        "yaml",
        "click",
        "rich",
        "PIL",
        "filelock",
    }


@pytest.mark.parametrize("converter", ["half", "quantize"])
def test_converting_a_file_loads_onnx_but_not_torch(converter):
    pytest.importorskip("onnx", reason="onnx is not installed")
    loaded = modules_after(f"import edgevit.export.{converter}")
    assert "onnx" in loaded
    assert not loaded & {"torch", "onnxscript", "openvino", "click", "rich"}


def test_the_public_names_are_these():
    import edgevit

    assert sorted(edgevit.__all__) == [
        "Classification",
        "Detections",
        "Geometry",
        "InputSpec",
        "ModelSpec",
        "Predictor",
        "Segmentation",
        "draw",
    ]
    assert set(edgevit.__all__) <= set(dir(edgevit))
    assert all(getattr(edgevit, name) is not None for name in edgevit.__all__)


@pytest.mark.parametrize(
    "module",
    ["edgevit", "edgevit.backend", pytest.param("edgevit.export", marks=pytest.mark.torch)],
)
def test_type_checkers_see_the_names_that_are_loaded_on_first_use(module):
    facade = import_module(module)
    tree = ast.parse(Path(facade.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {imported.names[0].asname: imported.module for imported in block.body}
    assert sorted(seen) == facade.__all__
    for name, home in seen.items():
        assert getattr(facade, name) is getattr(import_module(home), name)


def test_a_name_that_edgevit_lacks_is_an_attribute_error():
    import edgevit

    with pytest.raises(AttributeError, match="no attribute 'Predictr'"):
        _ = edgevit.Predictr
