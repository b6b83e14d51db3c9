"""A TensorRT whose engines are computed by ONNX Runtime, with the real one's rules.

Names, signatures and enumerations are those of the real bindings of the version in
`fake_gpu.settings()`; see read_bindings.py beside this package for where every fact is from.
"""

from __future__ import annotations

from fake_gpu import MACHINE, record, settings

if not MACHINE.is_started:  # some real versions crash where no GPU answers
    raise SystemError("tensorrt was imported before CUDA had answered")

from tensorrt.bound import ENUMS, REAL, VERSION
from tensorrt.builder import *  # noqa: F403
from tensorrt.builder import ILogger, IProgressMonitor
from tensorrt.runtime import *  # noqa: F403

__version__ = VERSION
globals().update({name: members for name, members in ENUMS.items() if name != "Severity"})
ILogger.Severity = ENUMS["Severity"]
if "IProgressMonitor" not in REAL["classes"]:
    del IProgressMonitor
for _name in settings().get("lacking", ()):
    _owner, _, _member = _name.partition(".")
    delattr(globals()[_owner], _member)
record(event="tensorrt imported", version=VERSION)
