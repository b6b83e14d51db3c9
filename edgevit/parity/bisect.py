"""Find the first node of a graph at which two sides part.

The file is copied with some inner tensors as further outputs, both sides run the copy, and the
search goes on among what the first bad tensor is computed from, until a node is found whose output
is bad while all that it reads is good. Only a few tensors are shown at a time: a runtime cannot
fuse across a tensor that it must show, so that showing all could hide the very difference.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from edgevit.core.model.graph import Graph, Node, read_graph, write_with_outputs
from edgevit.core.runtime.protocols import AnyArray, Session, check_feeds
from edgevit.core.runtime.registry import get_backend
from edgevit.errors import EdgeVitError, InputError
from edgevit.parity.limits import Limits
from edgevit.parity.pair import Progress
from edgevit.parity.report import Divergence
from edgevit.parity.sides import Side
from edgevit.parity.tensors import holds_ids, relative_error

AT_ONCE = (16, 1)  # tensors shown together; then, where the difference has gone, one by one
ROUNDS = 200  # more than any graph that has been met needs


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where the tensors that both files have come from.

    Args:
        nodes: what makes each of them, in the order of the reference's graph.
        parents: what each is computed from: the nearest ones that both files have.
    """

    nodes: Mapping[str, Node]
    parents: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, graph: Graph, common: Iterable[str]) -> Lineage:
        """Follow the tensors that depend on a graph's inputs, and its outputs if they do not.

        Args:
            graph: the reference's.
            common: tensors that the other file's graph makes, too.
        """
        shown = set(common)
        nodes: dict[str, Node] = {}
        parents: dict[str, frozenset[str]] = {}
        nearest: dict[str, frozenset[str]] = {name: frozenset() for name in graph.inputs}
        for node in graph.nodes:
            live = [nearest[name] for name in node.inputs if name in nearest]
            if not live and not set(graph.outputs).intersection(node.outputs):
                continue
            origin = frozenset[str]().union(*live)
            for name in node.outputs:
                nearest[name] = frozenset((name,)) if name in shown else origin
                if name in shown:
                    nodes[name], parents[name] = node, origin
        return cls(nodes, parents)

    def ancestors(self, name: str) -> set[str]:
        """All that a tensor is computed from."""
        found: set[str] = set()
        waiting = [*self.parents[name]]
        while waiting:
            tensor = waiting.pop()
            if tensor not in found:
                found.add(tensor)
                waiting += self.parents[tensor]
        return found


@dataclass(frozen=True, slots=True)
class Measured:
    """A tensor's relative error, and what it may be."""

    error: float
    limit: float

    @property
    def is_bad(self) -> bool:
        """Whether it is more."""
        return self.error > self.limit


class Probe:
    """Runs copies of two files that show inner tensors, and compares these."""

    def __init__(
        self,
        sides: tuple[Side, Side],
        graphs: tuple[Graph, Graph],
        feeds: Mapping[str, AnyArray],
        limits: Limits,
        options: Mapping[str, object],
    ) -> None:
        """Keep what every run needs."""
        self._sides = sides
        self._graphs = graphs
        self._feeds = feeds
        self._limits = limits
        self._options = options

    def measure(self, names: Sequence[str]) -> dict[str, Measured]:
        """Relative errors of these tensors and of the graph's own outputs.

        Raises:
            EdgeVitError: if a file cannot be copied, or a runtime refuses the copy.
        """
        first, second = (
            self._outputs(side, graph, names)
            for side, graph in zip(self._sides, self._graphs, strict=True)
        )
        return {name: self._measured(first[name], second[name]) for name in first}

    def _measured(self, reference: AnyArray, other: AnyArray) -> Measured:
        limits = self._limits
        limit = 1 - limits.min_agreement if holds_ids(reference) else limits.tolerance
        return Measured(relative_error(reference, other), limit)

    def _outputs(self, side: Side, graph: Graph, names: Sequence[str]) -> dict[str, AnyArray]:
        added = [name for name in names if name not in graph.outputs]
        with tempfile.TemporaryDirectory(prefix="edgevit-parity-") as folder:
            copy = Path(folder, Path(side.path).name)
            write_with_outputs(Path(side.path), added, copy)
            with closing(_load(copy, side, self._options)) as session:
                outputs = session.run(check_feeds(session.inputs, self._feeds))
                # By place: a runtime may call two tensors that it has merged by one name.
                shown = zip((*graph.outputs, *added), session.outputs, strict=True)
                return {name: outputs[info.name].copy() for name, info in shown}


class Search:
    """Goes from a bad output up to the first node that makes something bad of something good."""

    def __init__(self, probe: Probe, lineage: Lineage, at_once: int, progress: Progress) -> None:
        """Begin with nothing measured."""
        self.measured: dict[str, Measured] = {}
        self.healing: Sequence[str] = ()
        self._probe = probe
        self._lineage = lineage
        self._at_once = at_once
        self._progress = progress
        self._settled: set[str] = set()

    def run(self, output: str, measured: Measured) -> str | None:
        """Search from a bad graph output.

        Returns:
            The tensor that the node makes; None where the output is good as soon as the tensors in
            `healing` are shown.
        """
        bad = output
        self.measured[output] = measured
        for number in range(1, ROUNDS):
            chosen = self._next(bad)
            if not chosen:
                return bad
            found = self._probe.measure(chosen)
            if not found[output].is_bad:
                self.healing = chosen
                return None
            self.measured |= {name: found[name] for name in (*chosen, output)}
            bad = next((name for name in chosen if found[name].is_bad), bad)
            for name in chosen:
                if not found[name].is_bad:
                    self._settled |= self._lineage.ancestors(name)
            self._progress("bisecting", number, number + 1)
        return None

    def _next(self, bad: str) -> list[str]:
        """Some of what `bad` is computed from; at last, what its own node reads."""
        unknown = self._lineage.ancestors(bad) - self.measured.keys()
        open_ones = self._in_order(unknown - self._settled)
        parents = self._in_order(self._lineage.parents[bad] - self.measured.keys())
        return _inner(open_ones, self._at_once) or parents[: self._at_once]

    def _in_order(self, names: Iterable[str]) -> list[str]:
        wanted = set(names)
        return [name for name in self._lineage.nodes if name in wanted]


def first_divergence(
    reference: Side,
    side: Side,
    feeds: Mapping[str, AnyArray],
    *,
    limits: Limits,
    threads: int | None,
    progress: Progress,
) -> Divergence | str:
    """Find the first node at which two sides part.

    Args:
        reference: what is right.
        side: what differs.
        feeds: inputs that show it, by name.
        limits: from which error on a tensor is bad; of ids, the tolerance is `1 - min_agreement`.
        threads: threads of one run; None for each backend's default.
        progress: see `compare`.

    Returns:
        The node; where none is found, the reason in a sentence.
    """
    options = {} if threads is None else {"threads": threads}
    try:
        graphs = read_graph(Path(reference.path)), read_graph(Path(side.path))
        probe = Probe((reference, side), graphs, feeds, limits, options)
        return _searched(probe, graphs, progress)
    except InputError:  # of the caller's making
        raise
    except (EdgeVitError, OSError) as exc:  # OSError: no room for the copy
        return f"the graph could not be cut open to find the node that diverges: {exc}"


def _searched(probe: Probe, graphs: tuple[Graph, Graph], progress: Progress) -> Divergence | str:
    common = [name for node in graphs[1].nodes for name in node.outputs]
    lineage = Lineage.of(graphs[0], common)
    bad = [pair for pair in probe.measure(()).items() if pair[1].is_bad]
    if not bad:
        return "no node to name: on the worst picture, every output is within the tolerance"
    for at_once in AT_ONCE:
        search = Search(probe, lineage, at_once, progress)
        found = search.run(*bad[0])
        if found is not None:
            return _divergence(found, lineage, search.measured)
    return _fused(search.healing, lineage)


def _fused(healing: Sequence[str], lineage: Lineage) -> str:
    if not healing:
        return f"no node was found in {ROUNDS} steps"
    node = lineage.nodes[healing[0]]
    return (
        f"no node by itself diverges: the difference goes when {healing[0]!r}, made by "
        f"{node.operator} {node.name!r}, is shown, so that fusing around it makes the difference"
    )


def _inner(names: Sequence[str], count: int) -> list[str]:
    """Some of the names, evenly spread: of one, the middle."""
    count = min(count, len(names))
    return [names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)]


def _divergence(found: str, lineage: Lineage, measured: Mapping[str, Measured]) -> Divergence:
    node, error, parents = lineage.nodes[found], measured[found].error, lineage.parents[found]
    return Divergence(
        node=node.name,
        operator=node.operator,
        output=found,
        error=error if isfinite(error) else None,
        inputs={name: measured[name].error for name in lineage.nodes if name in parents},
        measured=len(measured),
    )


def _load(path: Path, side: Side, options: Mapping[str, object]) -> Session:
    """Load a copy that nobody needs again: backends that keep compiled models shall not."""
    backend = get_backend(side.backend)
    try:
        return backend.load(path, device=side.device, options={**options, "cache": False})
    except InputError:  # this one keeps none, and has no such option
        return backend.load(path, device=side.device, options=options)
