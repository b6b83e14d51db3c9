"""The Predictor: one loaded model, from images to results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgevit.core.backend import AnyArray, Session, check_feeds, resolve_device
from edgevit.core.classify import classification_from_logits
from edgevit.core.errors import InputError, ModelError, SpecError
from edgevit.core.geometry import Geometry
from edgevit.core.onnx_file import read_metadata
from edgevit.core.preprocess import Preprocessor
from edgevit.core.registry import choose_backend
from edgevit.core.results import Classification
from edgevit.core.signature import check_signature
from edgevit.core.spec import METADATA_KEY, ModelSpec
from edgevit.zoo import find_model

if TYPE_CHECKING:
    from edgevit.core.image import ImageSource

POOL_SIZE = 4  # batch buffers kept for reuse; more threads than that allocate their own


class Predictor:
    """Loads an exported model and answers images.

    A Predictor may be shared by threads: preprocessing runs in each thread, the runtime serves
    one at a time. It is a context manager; `close` releases the model.

    Example:
        with edgevit.Predictor("cas_vit_s.onnx") as predictor:
            print(predictor.classify("photo.jpg"))
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        backend: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        preprocess: str | None = None,
        color: str = "bgr",
        spec: ModelSpec | str | os.PathLike[str] | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        """Load a model.

        Args:
            model: an ONNX file, a model zoo name, or None for the bundled classifier.
            backend: a backend's name, or `auto` for the first usable one.
            device: a device of that backend, or `auto` for its first.
            threads: threads of one run; None for the physical cores this process may use.
            preprocess: `exact` (Pillow's antialiased resampling) or `fast` (OpenCV's); None for
                the spec's mode.
            color: channel order of the arrays passed in, `bgr` as OpenCV gives them or `rgb`.
                Files, bytes and PIL images know their own.
            spec: a ModelSpec or its YAML file, for a file that carries none or another.
            options: the backend's own options; see its documentation.

        Raises:
            ModelNotFoundError: if the model is not there; says how to get it.
            ModelError: if the file is not a whole ONNX file.
            SpecError: if it carries no valid spec and none is given, or the spec does not fit.
            BackendError: if the backend or the device cannot be used, or refuses the file.
            InputError: if an argument is not acceptable.
        """
        self.path = find_model(model)
        self.spec = _spec_of(self.path, spec)
        self._preprocessor = Preprocessor(self.spec.input, mode=preprocess, color=color)
        self.backend, runtime = choose_backend(backend, device)
        self.device = resolve_device(runtime, self.backend, device)
        merged = {**(options or {}), **({} if threads is None else {"threads": threads})}
        self.session: Session = runtime.load(self.path, device=self.device, options=merged)
        try:
            self._input, self._output = check_signature(self.session, self.spec)
        except SpecError:
            self.session.close()
            raise
        self._lock = Lock()
        self._buffers: list[NDArray[np.float32]] = []

    def classify(self, image: ImageSource, top_k: int = 5) -> Classification:
        """Name what an image shows.

        Args:
            image: a path, encoded bytes, a PIL image, or uint8 (H, W, 3) or (H, W) in the
                Predictor's color order.
            top_k: how many classes to answer, best first.

        Returns:
            The best classes with softmax scores and timings.

        Raises:
            InputError: if the image cannot be used.
            InferenceError: if the runtime fails or the Predictor is closed.
        """
        return self._predict(image, top_k=top_k)

    def detect(self, image: ImageSource) -> NoReturn:
        """Find objects; models of this task are not supported yet.

        Raises:
            ModelError: naming the method that the model's task fits.
        """
        raise self._wrong_task("detect")

    def segment(self, image: ImageSource) -> NoReturn:
        """Label pixels; models of this task are not supported yet.

        Raises:
            ModelError: naming the method that the model's task fits.
        """
        raise self._wrong_task("segment")

    def __call__(self, image: ImageSource) -> Classification:
        """Answer an image by the model's task."""
        return self._predict(image)

    def map(self, images: Iterable[ImageSource], *, workers: int = 2) -> Iterator[Classification]:
        """Answer many images in order, while decoding and preprocessing the next ones.

        Images are taken from the iterable only a few ahead, so an endless stream is fine. One
        that fails raises its error at its own place; the iterator goes on after it if asked.

        Args:
            images: what `__call__` takes.
            workers: threads that work ahead.

        Returns:
            An iterator of results; closing it drops the work ahead.
        """
        from edgevit.core.ordered_map import OrderedMap  # threads cost every start, used by few

        return OrderedMap(self, images, workers=workers)

    def preprocess(self, image: ImageSource) -> tuple[NDArray[np.float32], Geometry]:
        """Turn an image into the network's input.

        Args:
            image: what `classify` takes.

        Returns:
            The batch, float32 (1, 3, height, width), owned by the caller, and the Geometry that
            maps its pixels to the image.

        Raises:
            InputError: if the image cannot be used.
        """
        batch = self._new_buffer()
        return batch, self._preprocessor(image, batch[0])

    def infer(self, batch: AnyArray) -> dict[str, AnyArray]:
        """Run the graph.

        Args:
            batch: float32 (N, 3, height, width); N is 1 unless exported with a dynamic batch.

        Returns:
            The graph's outputs by name, owned by the caller.

        Raises:
            InputError: if dtype or shape do not fit the graph.
            InferenceError: if the runtime fails or the Predictor is closed.
        """
        feeds = check_feeds(self.session.inputs, {self._input: batch})
        with self._lock:
            outputs = self.session.run(feeds)
            return {name: np.array(output) for name, output in outputs.items()}

    @property
    def preprocess_mode(self) -> str:
        """How images are resampled: `exact` or `fast`."""
        return self._preprocessor.mode

    def postprocess(
        self, outputs: Mapping[str, AnyArray], geometry: Geometry, **parameters: Any
    ) -> Classification:
        """Read the outputs of one image.

        Args:
            outputs: what `infer` answered for a batch of one.
            geometry: what `preprocess` answered for it.
            parameters: the task's own, such as `top_k`.

        Returns:
            The result, without timings.

        Raises:
            InputError: if the outputs are not this model's for one image.
        """
        logits = outputs.get(self._output)
        expected = (1, len(self.spec.class_names))
        if logits is None or logits.shape != expected:
            given = {name: output.shape for name, output in outputs.items()}
            raise InputError(
                f"postprocess takes the outputs of one image, {self._output!r} {expected}, "
                f"but was given {given}; slice a larger batch with outputs[i:i + 1]"
            )
        return classification_from_logits(logits[0], self.spec, **parameters)

    def close(self) -> None:
        """Release the model; later predictions raise InferenceError. Closing twice is allowed."""
        with self._lock:
            self.session.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Predictor {self.spec.name} on {self.backend} {self.device}>"

    def _predict(self, image: ImageSource, **parameters: Any) -> Classification:
        started = perf_counter()
        batch = self._take_buffer()
        try:
            geometry = self._preprocessor(image, batch[0])
            preprocessed = perf_counter()
            with self._lock:
                outputs = self.session.run({self._input: batch})
                inferred = perf_counter()
                result = self.postprocess(outputs, geometry, **parameters)
        finally:
            if len(self._buffers) < POOL_SIZE:
                self._buffers.append(batch)
        result.timings_ms["preprocess"] = 1e3 * (preprocessed - started)
        result.timings_ms["infer"] = 1e3 * (inferred - preprocessed)
        result.timings_ms["postprocess"] = 1e3 * (perf_counter() - inferred)
        return result

    def _take_buffer(self) -> NDArray[np.float32]:
        try:
            return self._buffers.pop()
        except IndexError:  # all in use by other threads
            return self._new_buffer()

    def _new_buffer(self) -> NDArray[np.float32]:
        return np.empty((1, 3, *self.spec.input.size), np.float32)

    def _wrong_task(self, task: str) -> ModelError:
        return ModelError(
            f"{self.spec.name!r} is a model for {self.spec.task}, not for {task}; "
            f"call predictor.{self.spec.task}(image)"
        )


def _spec_of(path: Path, spec: ModelSpec | str | os.PathLike[str] | None) -> ModelSpec:
    if isinstance(spec, ModelSpec):
        return spec
    if spec is not None:
        return ModelSpec.from_yaml(Path(spec))
    embedded = read_metadata(path).get(METADATA_KEY)
    if embedded is not None:
        return ModelSpec.from_json(embedded)
    raise SpecError(
        f"{str(path)!r} carries no edgevit spec; pass spec=ModelSpec(...) or a YAML file, "
        "or write the file with `edgevit export`"
    )
