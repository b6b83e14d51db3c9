"""Write `bindings.json`: what three versions of TensorRT's Python bindings really offer.

The fake TensorRT beside this file offers that and nothing else: names of classes, methods and
enumeration members, argument names and types. They are pybind11's own descriptions, read from the
binding wheels, which import without TensorRT's libraries if others have the symbols they link to:

    pip download --no-deps tensorrt-bindings==8.6.1            # and unpack, into WHEELS/8.6.1
    pip download --no-deps tensorrt-cu12-bindings==10.3.0      # and 11.4.0.106
    cc -shared -fPIC -o LIBS/libnvinfer.so.8 symbols.c         # also libnvonnxparser, libnvparsers,
                                                               # libnvinfer_plugin; .so.10, .so.11
    LD_LIBRARY_PATH=LIBS python read_bindings.py WHEELS/8.6.1 > 8.6.1.json   # one by one
    python read_bindings.py *.json > bindings.json                           # all together

`symbols.c` defines, as functions that return 0, what `nm -D --undefined-only` lists of each wheel's
tensorrt.so besides Python, libc and libstdc++: createInferBuilder_INTERNAL,
createInferRuntime_INTERNAL, createInferRefitter_INTERNAL, createNvOnnxParser_INTERNAL,
createNvOnnxParserRefitter_INTERNAL, getBuilderPluginRegistry, getPluginRegistry,
getNvOnnxParserVersion, initLibNvInferPlugins, and for 8.6 four of the UFF and Caffe parsers.

What the bindings do not tell, the order of calls and what is refused, is from NVIDIA's TensorRT
developer guide, its Python API reference of these versions and its 10.x-to-11.x migration guide
(docs.nvidia.com/deeplearning/tensorrt); for the driver, from the docstrings of cuda-bindings
13.4.4; for PyCUDA, from the source of PyCUDA 2026.1, src/wrapper/wrap_cudadrv.cpp and
src/cpp/cuda.hpp.
"""

import json
import re
import sys
from pathlib import Path

ENUMS = (
    *("NetworkDefinitionCreationFlag", "BuilderFlag", "TensorIOMode", "TensorLocation", "DataType"),
    *("MemoryPoolType", "DeviceType", "ErrorCode", "PreviewFeature", "LayerType"),
)
CLASSES = (
    *("ILogger", "Builder", "INetworkDefinition", "ITensor", "ILayer", "IBuilderConfig"),
    *("IOptimizationProfile", "ITimingCache", "OnnxParser", "ParserError", "Runtime"),
    *("ICudaEngine", "IExecutionContext", "IHostMemory", "IOutputAllocator", "IProgressMonitor"),
)
UNUSED = ("add_", "algorithm", "calibrat", "binding", "weight", "debug", "plugin")
TYPES = {"SupportsInt": "int", "SupportsFloat": "float", "capsule": "int", "Buffer": "buffer"}


def arguments(signature):
    """[[name, type], ...] of one overload, `self` left out; the type is its last word."""
    inner = re.sub(r"\[[^][]*\]", "", signature.partition("(")[2].rpartition(") ->")[0])
    inner = re.sub(r"<[^<>]*>", "", inner)
    pairs = [part.partition("=")[0].partition(":")[::2] for part in inner.split(",") if part]
    found = [(name.strip(), re.split(r"[.:]", kind.strip())[-1]) for name, kind in pairs]
    return [[name, TYPES.get(kind, kind)] for name, kind in found if name != "self"]


def optional(signature):
    """How many arguments have defaults."""
    return re.sub(r"<[^<>]*>", "", signature).count(" = ")


def member(cls, name):
    value = getattr(cls, name)
    if isinstance(value, property):
        return "rw" if value.fset else "ro"
    lines = (value.__doc__ or "").strip().splitlines()
    pattern = rf"(\d+\. )?{name}\((?!\*args)"
    signatures = [line.strip() for line in lines if re.match(pattern, line.strip())]
    return [[arguments(line), optional(line)] for line in signatures]


def members(cls):
    names = [name for name in dir(cls) if not name.startswith("_") or name == "__init__"]
    kept = [name for name in names if not any(word in name.lower() for word in UNUSED)]
    kept += [name for name in names if name == "add_optimization_profile"]
    return {name: member(cls, name) for name in kept if name not in ("Severity",)}


def describe(folder):
    sys.path.insert(0, folder)
    import tensorrt_bindings as trt

    enums = {name: getattr(trt, name).__members__ for name in ENUMS if hasattr(trt, name)}
    enums["Severity"] = trt.ILogger.Severity.__members__
    return {
        "version": trt.__version__,
        "enums": {name: {key: int(v) for key, v in found.items()} for name, found in enums.items()},
        "classes": {name: members(getattr(trt, name)) for name in CLASSES if hasattr(trt, name)},
    }


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(describe(sys.argv[1])))
    else:
        read = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
        print("{")
        for index, found in enumerate(read):
            print(f'"{found["version"]}": {{')
            for part in ("enums", "classes"):
                print(f'"{part}": {{')
                entries = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in found[part].items()]
                print(",\n".join(entries))
                print("}," if part == "enums" else "}")
            print("}," if index + 1 < len(read) else "}")
        print("}")
