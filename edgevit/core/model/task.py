"""The tasks: one row for each, which everything that differs by task looks up.

What a task's outputs mean is in the module of its name in `edgevit.core.tasks`. This table stands
below it, with the spec, which refuses tasks and heads that are not here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from edgevit.core.model.heads import AnchorHead, BoxHead, ClassHead, Head, MapHead
from edgevit.core.records import parse, require, require_choice, require_value


@dataclass(frozen=True, slots=True)
class Task:
    """What a kind of model does with an image.

    Args:
        name: what specs and commands call it; a module of `edgevit.core.tasks` has its name.
        heads: the record of each kind of head parameters; under the empty name where there is one
            kind, which heads then do not state.
        metric: the figure of `edgevit.evaluate` that stands for a model's accuracy.
        noun: what two models that agree have in common, in the plural.
        bundled: name of the bundled model.
    """

    name: str
    heads: Mapping[str, type[Head]]
    metric: str
    noun: str
    bundled: str


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="classify",
            heads={"": ClassHead},
            metric="top1",
            noun="best classes",
            bundled="cas_vit_xs_cifar10",
        ),
        Task(
            name="detect",
            heads={"anchors": AnchorHead, "boxes": BoxHead},
            metric="bbox_AP",
            noun="detections",
            bundled="cas_vit_xs_retinanet_cards",
        ),
        Task(
            name="segment",
            heads={"logits": MapHead, "classes": MapHead},
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
        is_fitting = not data or len(fields(kinds[""])) > 0
        require_value("head", data, is_fitting, f"empty for a model of the task {task!r}")
        return parse(kinds[""], data, "head")
    require("kind" in data, f"head lacks the key 'kind', one of {', '.join(kinds)}")
    require_choice("head.kind", data["kind"], tuple(kinds))
    return parse(kinds[data["kind"]], data, "head", beside=("kind",))
