from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from paths import EXAMPLES

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
onnx = pytest.importorskip("onnx", reason="the export extra is not installed")

from edgevit import Predictor  # noqa: E402
from edgevit.export.checkpoint.weights import load_strictly, read_checkpoint  # noqa: E402
from edgevit.models import create_pyramid  # noqa: E402
from edgevit.models.retinanet import retinanet  # noqa: E402
from edgevit.models.semantic_fpn import semantic_fpn  # noqa: E402

pytestmark = pytest.mark.torch

RECIPES = EXAMPLES / "train"
TINY = ("--steps=2", "--crop=64", "--batch-size=2")


@pytest.fixture(scope="module")
def recipes():
    """The modules of the recipes, importable by their names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(RECIPES)
        yield


@pytest.fixture(scope="module")
def card_data(tmp_path_factory):
    """Three pictures of noise with a bright rectangle of one of six classes in each."""
    folder = tmp_path_factory.mktemp("cards")
    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    rng = np.random.default_rng(0)
    pictures, boxes = [], []
    for index in range(3):
        image = rng.integers(0, 200, (96, 128, 3), dtype=np.uint8)
        image[20:70, 30:90] = 255
        cv2.imwrite(str(folder / "images" / f"{index}.png"), image)
        pictures.append({"id": 7 + index, "file_name": f"{index}.png"})
        boxes.append(
            {"image_id": 7 + index, "bbox": [30, 20, 60, 50], "category_id": 2 * index + 1}
        )
    document = {
        "images": pictures,
        "annotations": boxes,
        "categories": [{"id": index + 1, "name": f"card {index}"} for index in range(6)],
    }
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def street_data(tmp_path_factory):
    """Two pictures of noise in each split, with labels 0 to 10 in stripes and 11 around them."""
    folder = tmp_path_factory.mktemp("camvid")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for name in ("a", "b"):
            image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
            labels = np.full((90, 120), 11, np.uint8)
            labels[4:-4, 5:115] = np.arange(11).repeat(10)
            cv2.imwrite(str(folder / "images" / split / f"{name}.jpg"), image)
            cv2.imwrite(str(folder / "labels" / split / f"{name}.png"), labels)
        (folder / f"{split}.txt").write_text("a\nb\n")
    return folder


def run(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, RECIPES / script, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_cards_train_resume_and_leave_weights_of_the_bundled_detector(card_data, tmp_path):
    options = (f"--data={card_data}", f"--output={tmp_path}", "--freeze-norms=0.5", *TINY)

    first = run("train_cards.py", *options)
    again = run("train_cards.py", *options)
    resumed = run("train_cards.py", *options, "--resume")

    assert first.returncode == 0, first.stderr
    assert again.returncode == 1
    assert "pass --resume" in again.stderr
    assert resumed.returncode == 0, resumed.stderr
    checkpoint = read_checkpoint(tmp_path / "cas_vit_xs_retinanet_cards.pth")
    detector = retinanet(create_pyramid("cas_vit_xs"), 6, channels=64, stacked=2)
    load_strictly(detector, checkpoint.state_dict)


@pytest.mark.slow
def test_two_workers_train_the_bundled_segmenter(street_data, tmp_path):
    finished = run(
        "train_camvid.py", f"--data={street_data}", f"--output={tmp_path}", "--processes=2", *TINY
    )

    assert finished.returncode == 0, finished.stderr
    checkpoint = read_checkpoint(tmp_path / "checkpoint.pth")
    segmenter = semantic_fpn(create_pyramid("cas_vit_xs"), 11, channels=64, head_channels=64)
    load_strictly(segmenter, checkpoint.state_dict)
    assert checkpoint.source == "ema"


def test_absent_data_are_named(tmp_path):
    finished = run("train_cards.py", f"--data={tmp_path / 'none'}", f"--output={tmp_path}")

    assert finished.returncode == 1
    assert "instances_train.json" in finished.stderr


def test_backbone_of_the_bundled_file_gives_its_logits(recipes):
    from bundled_backbone import bundled_backbone
    from onnx import numpy_helper

    batch = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    backbone = bundled_backbone(torch.from_numpy(batch)).eval()

    with torch.no_grad():
        pooled = backbone.stages(torch.from_numpy(batch[:1]))[-1].mean(dim=(2, 3)).numpy()
    with Predictor() as predictor:
        (expected,) = predictor.infer(batch[:1]).values()
        model = onnx.load(predictor.path)
    stored = {t.name.removesuffix(".float16"): t for t in model.graph.initializer}
    weight, bias = (numpy_helper.to_array(stored[f"head.{name}"]) for name in ("weight", "bias"))
    np.testing.assert_allclose(pooled @ weight.T + bias, expected, rtol=0, atol=1e-3)


def test_backbone_of_the_bundled_file_trains_on_from_where_it_was(recipes):
    from bundled_backbone import bundled_backbone

    batch = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    backbone = bundled_backbone(batch)

    with torch.no_grad():
        in_training, in_use = backbone(batch), backbone.eval()(batch)

    # Training moved the running statistics a little, and has its own variance.
    for trained, used in zip(in_training, in_use, strict=True):
        np.testing.assert_allclose(trained, used, rtol=0, atol=0.05)


def test_frozen_norms_keep_their_statistics(recipes):
    from dense_trainer import freeze_norms

    model = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.Dropout(0.5)).train()
    freeze_norms(model)
    model(torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0)) + 5)

    assert model[0].running_mean.tolist() == [0, 0]
    assert model[1].training


def test_turned_boxes_stay_on_their_objects(recipes):
    from cards import Scene, turn

    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 5:35] = 255
    scene = Scene(image, np.array([[5, 10, 35, 20]], np.float32), np.array([1]))

    for quarters in range(4):
        turned = turn(scene, quarters)
        rows, columns = np.nonzero(turned.image[..., 0])
        expected = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        np.testing.assert_array_equal(turned.boxes, [expected])


@pytest.mark.parametrize(
    ("left", "boxes", "class_ids"),
    [
        (0, [[20, 20, 40, 30]], [3]),
        (25, [[0, 20, 15, 30]], [3]),  # three quarters of it are seen
        (35, [[0, 20, 5, 30]], [-1]),  # a quarter: neither object nor background
        (45, np.empty((0, 4)), []),
    ],
    ids=["whole", "mostly", "hardly", "gone"],
)
def test_cut_keeps_what_is_seen(recipes, left, boxes, class_ids):
    from cards import Scene, cut

    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    scene = Scene(image, np.array([[20, 20, 40, 30]], np.float32), np.array([3]))

    part = cut(scene, 0, left, (60, 60))

    np.testing.assert_array_equal(part.boxes, boxes)
    np.testing.assert_array_equal(part.class_ids, class_ids)
    np.testing.assert_array_equal(part.image[:, : 80 - left], image[:, left : left + 60])


def test_anchors_are_assigned_to_objects_background_or_nothing(recipes):
    from train_cards import assign

    anchors = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 22], [50, 50, 60, 60], [80, 0, 90, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [80, 0, 90, 10], [50, 50, 60, 84]])

    objects, labels = assign(anchors.float(), boxes, torch.tensor([4, -1, 2]))

    # Its own; too near to be background; not even the best one of the third box is near enough.
    assert labels.tolist() == [4, -2, -1, -2]
    assert objects[0] == 0


def test_generalised_iou_of_apart_and_equal_boxes(recipes):
    from train_cards import generalised_iou

    first = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    second = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])

    assert generalised_iou(first, second).tolist() == pytest.approx([1.0, -1 / 3])


def test_soft_iou_is_the_iou_where_the_model_is_certain(recipes):
    from train_camvid import soft_iou

    labels = torch.tensor([[[0, 0, 1, 1, 255]]])
    predicted = torch.tensor([[[0, 1, 1, 1, 5]]])
    logits = 100 * torch.nn.functional.one_hot(predicted, 11).permute(0, 3, 1, 2).float()

    assert soft_iou(logits, labels).item() == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_parts_of_streets_are_parts_of_picture_and_labels_alike(recipes):
    from camvid import IGNORED, Street, draw_example

    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 11, (6, 8)), np.ones((16, 16))).astype(np.uint8)
    image = np.repeat(labels[..., None] * np.uint8(20), 3, axis=2)

    example = draw_example([Street(image, labels)], 48, rng)

    inside = example.labels != IGNORED
    assert inside.any()
    brightness = example.image.mean(axis=2)[inside]
    assert np.corrcoef(brightness, example.labels[inside])[0, 1] > 0.8
