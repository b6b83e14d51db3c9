"""Find the first node of a graph at which two sides part.

A tensor is bad where the two sides' values differ by more than the limit. What is looked for is a
node whose output is bad while everything that it reads is good. It is a binary search, over the
ancestors of a bad tensor instead of over a list:

1. Begin with a graph output that is bad.
2. The candidates are its ancestors that are neither measured nor presumed good. Put them in the
   graph's order, and probe some that are evenly spread; if it is one, the middle. To probe is to
   copy the file with these tensors as further outputs, and to run the copy on both sides.
3. If one is bad, go on from the first such. The ancestors of those that are good are presumed good.
4. When no candidate is left, probe what the bad tensor's own node reads: a bad tensor may have come
   out good further down, past a maximum or a rounding, and what was presumed good was not. Go on
   from a parent that is bad. If none is, the node has been found.

Only a few tensors are probed at a time: a runtime cannot fuse across a tensor that it must show, so
that showing all could hide the very difference. Where it has gone, the search begins again with one
tensor at a time, and if it goes then too, the tensor shown is named instead of a node.

`plain_first_bad` and `plain_parents` in `tests/parity/test_bisect.py` answer the same by measuring
every tensor, and the tests compare the two on random graphs.
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

PROBES = (16, 1)  # tensors shown together; then, where the difference has gone, one by one
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
            graph: the reference's graph.
            common: tensors that the other file's graph makes, too.
        """
        shown = set(common)
        nodes: dict[str, Node] = {}
        parents: dict[str, frozenset[str]] = {}
        nearest: dict[str, frozenset[str]] = {name: frozenset() for name in graph.inputs}
        for node in graph.nodes:
            live = [nearest[name] for name in node.inputs if name in nearest]
            if not live and not set(graph.outputs).intersection(node.outputs):
                continue  # a constant, equal on both sides
            origin = frozenset[str]().union(*live)
            for name in node.outputs:
                nearest[name] = frozenset((name,)) if name in shown else origin
                if name in shown:
                    nodes[name], parents[name] = node, origin
        return cls(nodes, parents)

    def ancestors(self, name: str) -> set[str]:
        """All tensors of the lineage that a tensor is computed from, directly or not."""
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
    """A tensor's relative error, and the largest one that is good; see `relative_error`."""

    error: float
    limit: float

    @property
    def is_bad(self) -> bool:
        """Whether the two sides' values differ by more than the limit."""
        return self.error > self.limit


class Probe:
    """Runs copies of two files that show inner tensors, and compares these."""

    def __init__(
        self,
        sides: tuple[Side, Side],
        graphs: tuple[Graph, Graph],
        feeds: Mapping[str, AnyArray],
        *,
        limits: Limits,
        options: Mapping[str, object],
    ) -> None:
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
    """A binary search among the ancestors of a bad output; see the module's text.

    Attributes:
        measured: the tensors measured so far, by name. Ancestors of the current bad one are good.
        vanished_with: the tensors that were shown when the output was good, if it ever was.
    """

    def __init__(self, probe: Probe, lineage: Lineage, probes: int, progress: Progress) -> None:
        self.measured: dict[str, Measured] = {}
        self.vanished_with: Sequence[str] = ()
        self._probe = probe
        self._lineage = lineage
        self._probes = probes
        self._progress = progress
        self._presumed_good: set[str] = set()

    def run(self, output: str, measured: Measured) -> str | None:
        """Search from a bad graph output.

        Returns:
            The tensor that the node makes; None where the output is good as soon as the tensors in
            `vanished_with` are shown, or the search does not end within `ROUNDS`.
        """
        bad = output
        self.measured[output] = measured
        for number in range(1, ROUNDS):
            chosen = self._next(bad)
            if not chosen:
                return bad
            found = self._probe.measure(chosen)
            if not found[output].is_bad:
                self.vanished_with = chosen
                return None
            self.measured |= {name: found[name] for name in (*chosen, output)}
            bad = next((name for name in chosen if found[name].is_bad), bad)
            for name in chosen:
                if not found[name].is_bad:
                    self._presumed_good |= self._lineage.ancestors(name)
            self._progress("bisecting", number, number + 1)
        return None

    def _next(self, bad: str) -> list[str]:
        """The tensors to probe; none when `bad` is what the first bad node makes."""
        unknown = self._lineage.ancestors(bad) - self.measured.keys()
        candidates = self._in_order(unknown - self._presumed_good)
        parents = self._in_order(self._lineage.parents[bad] - self.measured.keys())
        return _evenly_spread(candidates, self._probes) or parents[: self._probes]

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
        reference: the side that is taken to be right.
        side: the side that differs from it.
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
        probe = Probe((reference, side), graphs, feeds, limits=limits, options=options)
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
        return "no node to name: on the worst image, every output is within the tolerance"
    for probes in PROBES:
        search = Search(probe, lineage, probes, progress)
        found = search.run(*bad[0])
        if found is not None:
            return _divergence(found, lineage, search.measured)
    return _fused(search.vanished_with, lineage)


def _fused(vanished_with: Sequence[str], lineage: Lineage) -> str:
    if not vanished_with:
        return f"no node was found in {ROUNDS} steps"
    node = lineage.nodes[vanished_with[0]]
    return (
        f"no node by itself diverges: the difference goes when {vanished_with[0]!r}, made by "
        f"{node.operator} {node.name!r}, is shown, so that fusing around it makes the difference"
    )


def _evenly_spread(names: Sequence[str], count: int) -> list[str]:
    """At most `count` of the names; if it is one, the middle."""
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
