"""Which part of edgevit may import which, and what importing it loads."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edgevit"
VENDORS = {"torch", "onnx", "onnx_ir", "onnxruntime", "openvino", "tensorrt"}

# Whatever stands on a floor may import from the floors after it, and from itself.
HOUSE = (
    "cli -> tune export -> convert parity benchmark doctor -> evaluate -> predictor "
    "-> zoo drawing adapters markdown -> core -> errors"
)
CORE = "tasks -> image runtime -> model machine -> records cache"
# What stands beside the floors, or may import from beside them.
BESIDE = {
    "backend": {"core", "_lazy"},
    "testing": {"backend", "core", "errors"},
    "heads": {"core"},
    "models": {"core", "errors"},
    "cli": {"models"},
    "export": {"models", "_lazy"},
    "convert": {"_lazy"},
    "__main__": {"cli"},
}


def floors_below(rule):
    """Name -> names that it may import."""
    floors = [floor.split() for floor in rule.split("->")]
    return {
        name: {name, *(below for later in floors[at + 1 :] for below in later)}
        for at, floor in enumerate(floors)
        for name in floor
    }


SOURCES = sorted(PACKAGE.rglob("*.py"))
PLUGINS = sorted((ROOT / "backends").rglob("*.py"))


def layer_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path):
    """What a file imports, modules that it names in a string to import them later included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"edgevit\.[\w.]+", str(node.value)):
            yield node.value


def inner_names(path, package, folder):
    """Of the modules of a package, which a file imports: files or folders of `folder`."""
    for module in imported_modules(path):
        if module.startswith(f"{package}."):
            name = module.removeprefix(f"{package}.").split(".")[0]
            if (folder / name).is_dir() or (folder / f"{name}.py").is_file():
                yield name


def relative_name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=relative_name)
def test_imports_run_one_way(path):
    layer = layer_of(path)
    allowed = floors_below(HOUSE).get(layer, {layer}) | BESIDE.get(layer, set())
    assert layer == "__init__" or set(inner_names(path, "edgevit", PACKAGE)) <= allowed


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").glob("*/*.py")), ids=relative_name)
def test_imports_between_the_rooms_of_core_run_one_way(path):
    allowed = floors_below(CORE)[path.parent.name]
    assert set(inner_names(path, "edgevit.core", PACKAGE / "core")) <= allowed


def test_core_has_seven_rooms_and_few_arrows_between_them():
    arrows = {
        (path.parent.name, room)
        for path in (PACKAGE / "core").glob("*/*.py")
        for room in inner_names(path, "edgevit.core", PACKAGE / "core")
        if room != path.parent.name
    }
    assert {"records"} == {path.stem for path in (PACKAGE / "core").glob("*.py")} - {"__init__"}
    assert len(list((PACKAGE / "core").glob("*/__init__.py"))) == 6
    assert len(arrows) <= 10


def module_arrows():
    """File -> files that it imports, of edgevit and the plugins."""
    names = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for root, paths in ((ROOT, SOURCES), (ROOT / "backends", PLUGINS))
        for path in paths
    }
    for name, path in names.items():
        if name != "edgevit":  # the front door: loaded by whoever asks, when it asks
            found = {module for module in imported_modules(path) if module in names}
            found |= {
                module.rpartition(".")[0]
                for module in imported_modules(path)
                if module not in names and not module.endswith(".")
            } & set(names)
            yield name, found - {name, "edgevit"}


def test_no_file_imports_itself_through_others():
    graph = dict(module_arrows())
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("path", SOURCES, ids=relative_name)
def test_only_models_and_export_import_torch_or_a_vendor(path):
    imported = {module.split(".")[0] for module in imported_modules(path)}
    assert layer_of(path) in ("models", "export", "convert") or not imported & VENDORS


@pytest.mark.parametrize("path", PLUGINS, ids=relative_name)
def test_plugins_import_public_names_only(path):
    assert set(inner_names(path, "edgevit", PACKAGE)) <= {"backend", "errors"}


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


@pytest.mark.parametrize("converter", ["convert_to_fp16", "quantize"])
def test_converting_a_file_loads_onnx_but_not_torch(converter):
    pytest.importorskip("onnx_ir", reason="onnx_ir is not installed")
    loaded = modules_after(f"from edgevit.convert import {converter}")
    assert "onnx" in loaded
    assert not loaded & {"torch", "onnxscript", "openvino", "click", "rich"}


def test_the_public_names_are_these():
    import edgevit
    from edgevit import errors

    names = "Classification Detections Geometry InputSpec ModelSpec Predictor Segmentation"
    assert edgevit.__all__ == sorted([*names.split(), "draw", "load_image", *errors.__all__])
    assert set(edgevit.__all__) <= set(dir(edgevit))
    assert all(getattr(edgevit, name) is not None for name in edgevit.__all__)


@pytest.mark.parametrize("module", ["evaluate", "tune", "parity", "benchmark", "convert", "heads"])
def test_features_are_loaded_when_they_are_first_named(module):
    loaded = f"'edgevit.{module}' in sys.modules"
    statement = f"import edgevit; assert not {loaded}; edgevit.{module}.__name__; assert {loaded}"
    assert not modules_after(statement) & {"torch", "click", "rich"}


@pytest.mark.parametrize(
    "module",
    [
        "edgevit",
        "edgevit.backend",
        pytest.param("edgevit.convert", marks=pytest.mark.torch),
        pytest.param("edgevit.export", marks=pytest.mark.torch),
    ],
)
def test_type_checkers_see_the_names_that_are_loaded_on_first_use(module):
    facade = import_module(module)
    tree = ast.parse(Path(facade.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for imported in block.body:
        names = [alias.asname for alias in imported.names]
        if names == [None]:  # `import *`
            names = import_module(imported.module).__all__
        seen |= dict.fromkeys(names, imported.module)
    assert sorted(seen) == facade.__all__
    for name, home in seen.items():
        assert getattr(facade, name) is getattr(import_module(home), name)


def test_a_name_that_edgevit_lacks_is_an_attribute_error():
    import edgevit

    with pytest.raises(AttributeError, match="no attribute 'Predictr'"):
        _ = edgevit.Predictr
