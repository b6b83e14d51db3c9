"""The Predictor: one loaded model, from images to results."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgevit.core.image.geometry import Geometry
from edgevit.core.image.preprocessor import Preprocessor
from edgevit.core.model.metadata import read_metadata
from edgevit.core.model.spec import METADATA_KEY, ModelSpec
from edgevit.core.model.task import parse_head
from edgevit.core.runtime.protocols import AnyArray, Session, check_feeds, resolve_device
from edgevit.core.runtime.registry import choose_backend
from edgevit.core.runtime.settings import Settings, profiles_dir
from edgevit.core.runtime.shared_session import SharedSession
from edgevit.core.tasks.reader import task_reader
from edgevit.core.tasks.results import Classification, Detections, Result, Segmentation
from edgevit.core.tasks.signature import check_graph_inputs, check_signature
from edgevit.errors import ModelError, SpecError
from edgevit.zoo import find_model

if TYPE_CHECKING:
    from edgevit.core.image.load import ImageSource

POOL_SIZE = 4  # batch buffers kept for reuse; more threads than that allocate their own


class Predictor:
    """Loads an exported model and answers images.

    A Predictor may be shared by threads: preprocessing runs in each thread, the runtime serves
    one at a time, or several where its sessions are AsyncSessions. It is a context manager; `close`
    releases the model.

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
            backend: a backend's name, or `auto` for what `edgevit tune` found to be best for this
                model on this machine (backend, device, threads, preprocessing, and a converted
                file of the same model, as far as the arguments leave them open), and where nothing
                was tuned for the first usable one.
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
        settings = Settings(find_model(model), backend, device, threads, preprocess, options)
        if settings.backend == "auto" and profiles_dir().is_dir():
            from edgevit.core.runtime.profile import obey_profile  # most machines have no profile

            settings = obey_profile(settings, has_own_spec=spec is not None)
        self.path = settings.path
        self.spec = _spec_of(self.path, spec)
        self.head = parse_head(self.spec.task, self.spec.head)
        self._reader = task_reader(self.spec.task)
        self._preprocessor = Preprocessor(self.spec.input, mode=settings.preprocess, color=color)
        self.backend, runtime = choose_backend(settings.backend, settings.device)
        self.device = resolve_device(runtime, self.backend, settings.device)
        self.session: Session = runtime.load(
            self.path, device=self.device, options=settings.load_options
        )
        try:
            outputs = self._reader.graph_outputs(self.spec, self.head)
            self._signature = check_signature(self.session, self.spec, self.head, outputs)
        except SpecError:
            self.session.close()
            raise
        self._shared = SharedSession(self.session)
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
            ModelError: if the model is for another task.
            InputError: if the image cannot be used.
            InferenceError: if the runtime fails or the Predictor is closed.
        """
        result = self._answer(Classification, image, top_k=top_k)
        assert isinstance(result, Classification)
        return result

    def detect(
        self,
        image: ImageSource,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        *,
        class_names: Collection[str] | None = None,
        masks: str | None = None,
    ) -> Detections:
        """Find objects.

        Args:
            image: what `classify` takes.
            score_threshold: 0-1, a detection's score is greater; None for the model's.
            max_detections: how many to answer at most; None for the model's.
            class_names: the classes that are wanted; None for all.
            masks: `bool` or `rle` for masks in that form, of a model that has them; None to leave
                them out.

        Returns:
            Boxes in source pixels with scores and classes, best first, and timings.

        Raises:
            ModelError: if the model is for another task.
            InputError: if the image or a parameter cannot be used.
            InferenceError: if the runtime fails or the Predictor is closed.
        """
        result = self._answer(
            Detections,
            image,
            score_threshold=score_threshold,
            max_detections=max_detections,
            class_names=class_names,
            masks=masks,
        )
        assert isinstance(result, Detections)
        return result

    def segment(self, image: ImageSource) -> Segmentation:
        """Label every pixel.

        Args:
            image: what `classify` takes.

        Returns:
            The class of each source pixel, and timings.

        Raises:
            ModelError: if the model is for another task.
            InputError: if the image cannot be used.
            InferenceError: if the runtime fails or the Predictor is closed.
        """
        result = self._answer(Segmentation, image)
        assert isinstance(result, Segmentation)
        return result

    def __call__(self, image: ImageSource) -> Result:
        """Answer an image by the model's task: Classification, Detections or Segmentation."""
        return self._predict(image)

    def map(self, images: Iterable[ImageSource], *, workers: int | None = None) -> Iterator[Result]:
        """Answer many images in order, while decoding and preprocessing the next ones.

        Images are taken from the iterable only a few ahead, so an endless stream is fine. One
        that fails raises its error at its own place; the iterator goes on after it if asked.

        Args:
            images: what `__call__` takes.
            workers: threads that work ahead; None for two, or one more than the runs that the
                session takes at a time.

        Returns:
            An iterator of what `__call__` answers; closing it drops the work ahead.
        """
        from edgevit.core.runtime.ordered_map import OrderedMap  # few starts need threads

        if workers is None:
            workers = self._shared.max_in_flight + 1
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

    def infer(self, batch: AnyArray, **graph_inputs: ArrayLike) -> dict[str, AnyArray]:
        """Run the graph.

        Args:
            batch: float32 (N, 3, height, width); N is 1 unless exported with a dynamic batch.
            graph_inputs: values of inputs besides the image, which some detectors have: their
                answers are the better for knowing where padding begins, and come sooner where less
                is wanted. `image_size` is the (height, width) that the image fills of the network
                input, a geometry's `filled_size`, by default all of it; `score_threshold`, 0-1, is
                what scores of interest are greater than, by default the model's; `max_masks` is how
                many candidates need masks, by default all. A graph without such an input does the
                same in any case.

        Returns:
            The graph's outputs by name, owned by the caller.

        Raises:
            InputError: if dtype or shape do not fit the graph, or no graph has an input of a name.
            InferenceError: if the runtime fails or the Predictor is closed.
        """
        feeds = check_feeds(self.session.inputs, self.feeds(batch, **graph_inputs))
        with self._shared.outputs(feeds) as outputs:
            return {name: np.array(output) for name, output in outputs.items()}

    def feeds(self, batch: AnyArray, **graph_inputs: ArrayLike) -> dict[str, AnyArray]:
        """What `infer` runs the session with: the batch, and whatever else the graph takes.

        Args:
            batch: float32 (N, 3, height, width).
            graph_inputs: see `infer`.

        Raises:
            InputError: if no graph has an input of a name.
        """
        check_graph_inputs(graph_inputs)
        defaults = {"image_size": self.spec.input.size, **self._reader.graph_inputs(self.head)}
        return self._signature.feeds(batch, {**defaults, **graph_inputs})

    @property
    def preprocess_mode(self) -> str:
        """How images are resampled: `exact` or `fast`."""
        return self._preprocessor.mode

    def with_preprocess(self, mode: str) -> Predictor:
        """Make a Predictor that resamples in another mode and shares this one's loaded model.

        Closing one closes both.

        Args:
            mode: `exact` or `fast`.

        Raises:
            InputError: if it is neither.
        """
        twin = copy(self)
        color = self._preprocessor.color
        twin._preprocessor = Preprocessor(self.spec.input, mode=mode, color=color)
        return twin

    def postprocess(
        self,
        outputs: Mapping[str, AnyArray],
        geometry: Geometry,
        **parameters: Any,  # of the task: whatever its reader takes
    ) -> Result:
        """Read the outputs of one image.

        Args:
            outputs: what `infer` answered for a batch of one.
            geometry: what `preprocess` answered for it.
            parameters: the task's own, such as `top_k` or `score_threshold`.

        Returns:
            The result, without timings.

        Raises:
            InputError: if the outputs are not this model's for one image, or a parameter is not
                acceptable.
        """
        wanted = self._reader.parameters(self.spec, self.head, **parameters)
        return self._read(outputs, geometry, wanted)

    def close(self) -> None:
        """Release the model; later predictions raise InferenceError. Closing twice is allowed."""
        self._shared.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Predictor {self.spec.name} on {self.backend} {self.device}>"

    def _answer(self, kind: type[Result], image: ImageSource, **parameters: Any) -> Result:
        if kind is not self._reader.RESULT:
            raise ModelError(
                f"{self.spec.name!r} is a model for {self.spec.task}, which gives no "
                f"{kind.__name__}; call predictor.{self.spec.task}(image)"
            )
        return self._predict(image, **parameters)

    def _predict(self, image: ImageSource, **parameters: Any) -> Result:
        wanted = self._reader.parameters(self.spec, self.head, **parameters)
        started = perf_counter()
        batch = self._take_buffer()
        try:
            geometry = self._preprocessor(image, batch[0])
            preprocessed = perf_counter()
            with self._shared.outputs(self._feeds(batch, geometry, wanted)) as outputs:
                inferred = perf_counter()
                result = self._read(outputs, geometry, wanted)
        finally:
            if len(self._buffers) < POOL_SIZE:
                self._buffers.append(batch)
        timings_ms = {
            "preprocess": 1e3 * (preprocessed - started),
            "infer": 1e3 * (inferred - preprocessed),
            "postprocess": 1e3 * (perf_counter() - inferred),
        }
        return replace(result, timings_ms=timings_ms)

    def _feeds(self, batch: AnyArray, geometry: Geometry, wanted: Any) -> dict[str, AnyArray]:
        inputs = self._reader.graph_inputs(self.head, wanted)
        return self._signature.feeds(batch, {"image_size": geometry.filled_size, **inputs})

    def _read(self, outputs: Mapping[str, AnyArray], geometry: Geometry, wanted: Any) -> Result:
        own = self._signature.outputs_of(outputs)
        return self._reader.read(own, geometry, spec=self.spec, head=self.head, wanted=wanted)

    def _take_buffer(self) -> NDArray[np.float32]:
        try:
            return self._buffers.pop()
        except IndexError:  # all in use by other threads
            return self._new_buffer()

    def _new_buffer(self) -> NDArray[np.float32]:
        return np.empty((1, 3, *self.spec.input.size), np.float32)


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
