"""What the module of a task offers, found by the task's name."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from edgevit.core.image.geometry import Geometry
from edgevit.core.model.spec import ModelSpec
from edgevit.core.runtime.protocols import AnyArray
from edgevit.core.tasks.results import Result
from edgevit.core.tasks.signature import Output


class TaskReader(Protocol):
    """A module of `edgevit.core.tasks`; heads and parameters are its own types, hence Any."""

    RESULT: type[Result]

    def graph_outputs(self, spec: ModelSpec, head: Any) -> Sequence[Output]:
        """Describe what a graph of this head must answer for one image."""

    def parameters(self, spec: ModelSpec, head: Any, **given: Any) -> Any:
        """Check what a caller wants, before anything is computed.

        Raises:
            InputError: if a parameter is not acceptable.
            TypeError: if the task has no such parameter.
        """

    def graph_inputs(self, head: Any, wanted: Any = None) -> Mapping[str, float]:
        """Values of the graph's inputs besides the image that follow from the parameters.

        None stands for everything that the model can answer.
        """

    def read(
        self,
        outputs: Mapping[str, AnyArray],
        geometry: Geometry,
        *,
        spec: ModelSpec,
        head: Any,
        wanted: Any,
    ) -> Result:
        """Turn the outputs of one image into a result without timings, which owns its memory.

        Raises:
            InferenceError: if the outputs mean nothing.
        """


def task_reader(task: str) -> TaskReader:
    """Load the module of a task, which most programs need one of.

    Args:
        task: a name in `edgevit.core.model.task.TASKS`.
    """
    return cast("TaskReader", import_module(f"edgevit.core.tasks.{task}"))


def result_type(task: str) -> type[Result]:
    """Say which class of results a task gives; what draws, measures or compares them asks."""
    return task_reader(task).RESULT
