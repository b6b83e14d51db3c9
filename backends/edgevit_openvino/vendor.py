"""OpenVINO, imported without its telemetry.

`import openvino` runs openvino/tools/ovc/__init__.py, which asks `openvino_telemetry`, a dependency
of the wheel, to write a client id under `~/intel` and to report the import to Google Analytics,
unless the user has opted out. Where that package cannot be imported, OpenVINO uses a stub of its
own (openvino/tools/ovc/telemetry_utils.py). This module makes it so, for that one import.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast

TELEMETRY = "openvino_telemetry"


@contextmanager
def _import_fails(name: str) -> Iterator[None]:
    """Let `import name` raise ImportError, unless the program has imported it before."""
    if name in sys.modules:
        yield
        return
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]


with _import_fails(TELEMETRY):
    import openvino
    from openvino.frontend import FrontEndManager

__all__ = ["FrontEndManager", "openvino"]
