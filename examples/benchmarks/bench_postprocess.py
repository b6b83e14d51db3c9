"""Time what comes after the network: `python bench_postprocess.py`.

Each line compares edgevit with the plain way: the two take turns in one process, medians. The
source is 1080 x 1920. RetinaNet: 640 x 640, 80 classes, the best 1000 candidates of each of 5
levels, of which about 3000 pass the threshold, around 25 objects or anywhere. Masks: 100 of 28 x 28
as run lengths, boxes of two ranges of sides. Segmentation: 512 x 512, 11 classes, stride 4.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter

import cv2
import numpy as np

from edgevit import Geometry, InputSpec, ModelSpec
from edgevit.core.image.preprocessor import geometry_of, window_of
from edgevit.core.model.heads import AnchorGrid, AnchorHead, BoxHead, Coder, MapHead, Selection
from edgevit.core.tasks import detect, segment
from edgevit.core.tasks.boxes import anchors_of, box_iou, decode_deltas, level_sizes
from edgevit.core.tasks.rle import RLE

Outputs = dict[str, np.ndarray]
Pair = tuple[Callable[[], object], Callable[[], object]]

SOURCE = (1080, 1920)
CLASSES, MAP_CLASSES, PER_LEVEL, STRIDE = 80, 11, 1000, 4
GRID = AnchorGrid((8, 16, 32, 64, 128), (0.5, 1.0, 2.0), tuple(4 * 2 ** (i / 3) for i in range(3)))
RETINANET = AnchorHead(GRID, Coder(), PER_LEVEL, Selection())
MASK_RCNN = BoxHead(Selection(), mask_threshold=0.5)
RANDOM = np.random.default_rng(0)


def spec_for(
    side: int, task: str, head: AnchorHead | BoxHead | MapHead
) -> tuple[ModelSpec, Geometry]:
    size = InputSpec((side, side), resize="letterbox", crop_pct=1.0)
    names = tuple(map(str, range(MAP_CLASSES if task == "segment" else CLASSES)))
    spec = ModelSpec("bench", "bench", "bench", task, size, names, head.to_dict())
    return spec, geometry_of(SOURCE, window_of(SOURCE, size), size.size)


def candidates(anchors: np.ndarray, around_objects: bool) -> Outputs:
    """The best candidates of each level; around objects, their classes are mostly the object's."""
    corners = RANDOM.uniform(0, 1, (25, 2)) * (540, 260)
    objects = np.concatenate([corners, corners + RANDOM.uniform(20, 300, (25, 2))], axis=1)
    classes = RANDOM.integers(0, CLASSES, 25)
    chosen, first = [], 0
    for rows, columns in level_sizes(GRID, (640, 640)):
        count = rows * columns * 9
        overlap = box_iou(anchors[first : first + count], objects)
        near = np.argsort(-overlap.max(axis=1))[: PER_LEVEL // 4] if around_objects else count
        anchor = RANDOM.choice(near, PER_LEVEL)
        stray = RANDOM.integers(0, CLASSES, PER_LEVEL)
        own = classes[overlap[anchor].argmax(axis=1)]
        is_own = around_objects & (RANDOM.random(PER_LEVEL) < 0.7)
        chosen.append((first + anchor) * CLASSES + np.where(is_own, own, stray))
        first += count
    scores = [np.sort(RANDOM.beta(0.6, 4, PER_LEVEL))[::-1] for _ in chosen]
    return {
        "indices": np.concatenate(chosen)[None],
        "scores": np.concatenate(scores).astype(np.float32)[None],
        "deltas": RANDOM.normal(0, 0.2, (1, len(chosen) * PER_LEVEL, 4)).astype(np.float32),
    }


def detector(outputs, geometry, spec, head, **wanted):
    """What reads a detector's outputs, its parameters checked before."""
    parameters = detect.parameters(spec, head, **wanted)
    return lambda: detect.read(outputs, geometry, spec=spec, head=head, wanted=parameters)


def detection(around_objects: bool) -> Pair:
    """Against OpenCV's suppression by class."""
    spec, geometry = spec_for(640, "detect", RETINANET)
    anchors = anchors_of(GRID, (640, 640))
    outputs = candidates(anchors, around_objects)

    def plain() -> object:
        places = np.flatnonzero(outputs["scores"][0] > 0.05)
        anchor, class_ids = np.divmod(outputs["indices"][0][places], CLASSES)
        boxes = decode_deltas(outputs["deltas"][0][places], anchors[anchor], RETINANET.coder)
        boxes[:, 2:] -= boxes[:, :2]
        scores = outputs["scores"][0][places]
        kept = cv2.dnn.NMSBoxesBatched(boxes, scores, class_ids, 0.05, 0.5, top_k=1000)
        return geometry.boxes_to_source(boxes[kept[:100]])

    return detector(outputs, geometry, spec, RETINANET), plain


def pasting(smallest: float, largest: float) -> Pair:
    """Against resizing each mask to its box and encoding the whole picture."""
    spec, geometry = spec_for(1024, "detect", MASK_RCNN)
    scale = geometry.scale[0]
    sides = np.exp(RANDOM.uniform(np.log(smallest), np.log(largest), (100, 2))) / scale
    corners = RANDOM.uniform(0, 1, (100, 2)) * (np.array((1920, 1080)) / scale - sides)
    y, x = np.mgrid[:28, :28] / 13.5 - 1
    blob = np.exp(-((y**2 + x**2) ** 2) * 0.9)
    outputs = {
        "boxes": np.concatenate([corners, corners + sides], axis=1).astype(np.float32)[None],
        "scores": np.linspace(0.9, 0.1, 100, dtype=np.float32)[None],
        "class_ids": np.arange(100)[None] % CLASSES,
        "masks": (blob * RANDOM.uniform(0.7, 1, (1, 100, 28, 28))).astype(np.float32),
    }

    def plain() -> object:
        encoded = []
        for mask, box in zip(outputs["masks"][0], outputs["boxes"][0] * scale, strict=True):
            x0, y0, x1, y1 = box.round().astype(int)
            whole = np.zeros(SOURCE, bool)
            whole[y0:y1, x0:x1] = cv2.resize(mask, (x1 - x0, y1 - y0))[: 1080 - y0] >= 0.5
            encoded.append(RLE.from_mask(whole))
        return encoded

    return detector(outputs, geometry, spec, MASK_RCNN, masks="rle"), plain


def logits(cells: int) -> np.ndarray:
    """Smooth regions; about one square between four cells in nine lies at a border."""
    coarse = RANDOM.normal(0, 3, (MAP_CLASSES, 6, 6)).astype(np.float32)
    planes = [cv2.resize(plane, (cells, cells), interpolation=cv2.INTER_CUBIC) for plane in coarse]
    return np.stack(planes)[None]


def segmentation(kind: str, values: np.ndarray) -> Pair:
    """Against resizing everything to the source's size before the arg-max."""
    head = MapHead(kind, STRIDE)
    spec, geometry = spec_for(512, "segment", head)
    outputs = {kind: values if kind == "logits" else values.argmax(axis=1)}
    rows = geometry.input_box[3] // STRIDE

    def plain() -> object:
        size = SOURCE[::-1]
        if kind == "classes":
            cells = outputs[kind][0, :rows].astype(np.uint8)
            return cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST)
        planes = [cv2.resize(plane[:rows], size) for plane in values[0]]
        return np.stack(planes).argmax(axis=0).astype(np.uint8)

    return lambda: segment.read(outputs, geometry, spec=spec, head=head, wanted=None), plain


def border_share(values: np.ndarray) -> float:
    best = values[0].argmax(axis=0)
    corner = best[:-1, :-1]
    mixed = (best[1:, :-1] != corner) | (best[:-1, 1:] != corner) | (best[1:, 1:] != corner)
    return float(mixed.mean())


def medians_ms(pair: Pair, rounds: int) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):  # the first one warms up
        for function, spent in zip(pair, times, strict=True):
            start = perf_counter()
            function()
            spent.append(1e3 * (perf_counter() - start))
    return median(times[0][1:]), median(times[1][1:])


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare postprocessing with the plain way.")
    parser.add_argument("--rounds", type=int, default=30, help="times each is run")
    rounds = parser.parse_args().rounds
    values = logits(512 // STRIDE)
    table = {
        "RetinaNet, objects": detection(around_objects=True),
        "RetinaNet, anywhere": detection(around_objects=False),
        "masks, 20-600 pixels": pasting(20, 600),
        "masks, 300-600 pixels": pasting(300, 600),
        "segment, logits": segmentation("logits", values),
        "segment, classes": segmentation("classes", values),
    }
    print(
        f"{border_share(values):.1%} of the squares between four cells lie at a border of classes"
    )
    print(f"{'':22}{'edgevit ms':>12}{'plain ms':>10}{'ratio':>8}")
    for name, pair in table.items():
        ours, plain = medians_ms(pair, rounds)
        print(f"{name:22}{ours:>12.2f}{plain:>10.2f}{plain / ours:>7.1f}x")


if __name__ == "__main__":
    main()
