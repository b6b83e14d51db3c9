import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")


from plain.lightvit import plain  # noqa: E402

from edgevit.models.lightvit import LightViT, LightViTConfig  # noqa: E402

SMALLEST = LightViTConfig(
    depths=(1, 2, 1), dims=(16, 32, 64), heads=(1, 2, 4), num_tokens=3, num_dense_tokens=5
)


@pytest.mark.parametrize("size", [(224, 224), (448, 224)], ids=str)
@torch.no_grad()
def test_the_official_forward_pass_gives_the_numbers_of_the_module(size):
    torch.manual_seed(0)
    model = LightViT(SMALLEST, 7).double().eval()
    for values in model.parameters():
        values += 0.1 * torch.randn_like(values)
    batch = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(plain(model)(batch), model(batch), rtol=0, atol=1e-9)
