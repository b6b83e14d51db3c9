"""Head parameters of a spec: how a detector's or a segmenter's outputs are read.

A head's `to_dict()` is what `ModelSpec.head` takes; a classifier's is empty.
"""

from edgevit.core.model.heads import (
    AnchorGrid,
    AnchorHead,
    BoxHead,
    ClassHead,
    Coder,
    MapHead,
    Selection,
)

__all__ = ["AnchorGrid", "AnchorHead", "BoxHead", "ClassHead", "Coder", "MapHead", "Selection"]
