"""What leaves the exporter for LITv2: the official numbers on every runtime."""

from importlib.util import find_spec

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")


import golden  # noqa: E402
import official_layouts  # noqa: E402

import edgevit  # noqa: E402
from edgevit.core.runtime.registry import get_backend  # noqa: E402
from edgevit.export import export_model  # noqa: E402
from edgevit.export.deploy import deploy  # noqa: E402
from edgevit.models.litv2 import DeformableTokenMerging, HiLo  # noqa: E402

OPTIONS = {"onnxruntime": {}, "openvino": {"cache": False}}
BACKENDS = [name for name in OPTIONS if find_spec(name)]
# Deeper or wider, or with other numbers of the same heads.
LARGE_OR_ALIKE = [
    *("litv2_m", "litv2_b", "litv2_b_384"),
    *("litv2_s_alpha0.2", "litv2_s_alpha0.4", "litv2_s_alpha0.5", "litv2_s_alpha0.7"),
    "litv2_s_alpha1.0",
]
MODULES = {
    "module_hilo_d384_h12_ws2_a0.9_14x16": HiLo,
    "module_hilo_det_d384_h12_ws2_a0.9_7x7_padded": HiLo,
    "module_hilo_d128_h4_ws1_a0.9_7x7": HiLo,
    "module_dtm_d64_15x13": DeformableTokenMerging,
}


@pytest.mark.parametrize(
    "name",
    [
        "litv2_s",
        pytest.param("litv2_s_alpha0.0", marks=pytest.mark.slow),
        *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE_OR_ALIKE),
    ],
)
def test_the_file_gives_the_official_logits_on_every_runtime(name, tmp_path):
    rows = golden.official_rows(golden.LITV2, name)
    official_layouts.litv2(tmp_path / "official.pth", golden.state_dict(rows))
    size = tuple(golden.LITV2[name]["input_shape"][2:])

    report = export_model(
        name, tmp_path / "model.onnx", checkpoint=tmp_path / "official.pth", input_size=size
    )

    for backend in BACKENDS:
        with edgevit.Predictor(report.path, backend=backend, options=OPTIONS[backend]) as predictor:
            assert golden.logits_error(predictor, "litv2", name) < 1e-4, backend


def exported_alone(module, example, path):
    torch.onnx.export(
        module, (example,), path, dynamo=True, opset_version=20, input_names=["x"], verbose=False
    )
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("form", [deploy, torch.nn.Module.eval], ids=["deploy form", "module"])
@pytest.mark.parametrize("name", MODULES)
def test_a_module_exported_alone_gives_the_official_numbers(name, form, tmp_path):
    case = golden.LITV2[name]
    module = MODULES[name](**case["arguments"])
    module.load_state_dict(golden.state_dict(case["state_dict"]))
    batch = golden.reference_input(case["input_shape"], case["input_seed"])
    batch = batch.reshape(-1, *case["size"], batch.shape[-1])

    path = exported_alone(form(module), torch.from_numpy(batch), tmp_path / "module.onnx")

    rows, columns = case["steps"]
    for backend in BACKENDS:
        session = get_backend(backend).load(path, device="cpu", options=OPTIONS[backend])
        (output,) = session.run({"x": batch}).values()
        tokens = output.reshape(len(batch), -1, output.shape[-1])
        error = np.abs(tokens[:, ::rows, ::columns] - golden.arrays("litv2")[name]).max()
        session.close()
        assert error < 1e-4, backend
