"""The tasks: one row for each, which everything that differs by task looks up.

What a task's outputs mean is in the module of its name in `edgevit.core.tasks`. This table stands
below it, with the spec, which refuses tasks and heads that are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgevit.core.model.heads import AnchorHead, BoxHead, ClassHead, Head, MapHead
from edgevit.core.records import require, require_choice

ParseHead = Callable[[Mapping[str, Any]], Head]


@dataclass(frozen=True, slots=True)
class Task:
    """What a kind of model does with an image.

    Args:
        name: what specs and commands call it; a module of `edgevit.core.tasks` has its name.
        heads: what parses the head parameters of each kind; under the empty name where there is
            one kind, which heads then do not state.
        metric: the figure of `edgevit.evaluate` that stands for a model's accuracy.
        noun: what two models that agree have in common, in the plural.
        bundled: name of the bundled model.
    """

    name: str
    heads: Mapping[str, ParseHead]
    metric: str
    noun: str
    bundled: str


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="classify",
            heads={"": ClassHead.from_dict},
            metric="top1",
            noun="best classes",
            bundled="cas_vit_xs_cifar10",
        ),
        Task(
            name="detect",
            heads={"anchors": AnchorHead.from_dict, "boxes": BoxHead.from_dict},
            metric="bbox_AP",
            noun="detections",
            bundled="cas_vit_xs_retinanet_cards",
        ),
        Task(
            name="segment",
            heads={"logits": MapHead.from_dict, "classes": MapHead.from_dict},
            metric="mIoU",
            noun="pixels",
            bundled="cas_vit_xs_semantic_fpn_camvid",
        ),
    )
}


def parse_head(task: str, data: object) -> Head:
    """Read the head parameters of a task.

    Args:
        task: a name in `TASKS`.
        data: a spec's `head`.

    Raises:
        SpecError: naming the key that is unknown, missing or wrong.
    """
    require_choice("task", task, tuple(TASKS))
    require(isinstance(data, Mapping), f"head must be a mapping, not {type(data).__name__}")
    assert isinstance(data, Mapping)
    kinds = TASKS[task].heads
    if "" in kinds:
        return kinds[""](data)
    require("kind" in data, f"head lacks the key 'kind', one of {', '.join(kinds)}")
    require_choice("head.kind", data["kind"], tuple(kinds))
    return kinds[data["kind"]](data)
