"""Which execution provider computes which nodes: said aloud where it is not the chosen one."""

import logging
from collections import Counter
from typing import Any

import onnxruntime

from edgevit.errors import LoadError

RECORD = "session.record_ep_graph_assignment_info"  # a session configuration entry
CPU = "CPUExecutionProvider"
MOST_LISTED = 8

logger = logging.getLogger(__name__)


def report_placement(session: onnxruntime.InferenceSession, provider: str, device: str) -> None:
    """Log how many nodes run elsewhere than on the device, and which.

    Args:
        session: loaded with the entry `RECORD`.
        provider: the device's execution provider.
        device: its name, for the messages.

    Raises:
        LoadError: if all nodes run on the processor.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        logger.warning(
            "ONNX Runtime %s does not say whether nodes run on the processor beside %s; 1.24 and "
            "newer do. config={'session.disable_cpu_ep_fallback': '1'} refuses such models",
            onnxruntime.__version__,
            device,
        )
        return
    placed = _placed(session)
    total = sum(count.total() for count in placed.values())
    if set(placed) == {CPU}:
        raise LoadError(
            f"ONNX Runtime gives none of the model's {total} nodes to {provider} for device "
            f"{device!r} and all to the processor; pass `device='cpu'`, or export without the "
            f"operators that {provider} lacks: {_listed(placed[CPU])}"
        )
    if set(placed) == {provider}:
        logger.info("all %d nodes run on %s", total, device)
    for other in placed.keys() - {provider}:
        is_slow = other == CPU or provider not in placed
        count, kinds = placed[other].total(), _listed(placed[other])
        text = "%d of %d nodes run on %s, not on %s: %s"
        level = logging.WARNING if is_slow else logging.INFO
        logger.log(level, text, count, total, other, device, kinds)


def _placed(session: onnxruntime.InferenceSession) -> dict[str, Counter[str]]:
    """Count the nodes of each type on each execution provider."""
    placed: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        nodes: list[Any] = part.get_nodes()
        placed.setdefault(part.ep_name, Counter()).update(node.op_type for node in nodes)
    return placed


def _listed(kinds: Counter[str]) -> str:
    named = [f"{count} {kind}" for kind, count in kinds.most_common(MOST_LISTED)]
    rest = len(kinds) - len(named)
    return ", ".join(named) + (f" and {rest} more types" if rest > 0 else "")
