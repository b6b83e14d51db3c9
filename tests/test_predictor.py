import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

import edgevit
from edgevit.errors import (
    BackendNotFoundError,
    DeviceError,
    InferenceError,
    InputError,
    ModelError,
    ModelNotFoundError,
    SpecError,
)
from edgevit.testing import FakeBackend

RED = np.zeros((11, 9, 3), np.uint8)
RED[..., 2] = 255
BLUE = np.ascontiguousarray(RED[..., ::-1])


@pytest.fixture
def predictor(tiny):
    with edgevit.Predictor(tiny, backend="onnxruntime") as loaded:
        yield loaded


def test_an_array_is_bgr(predictor):
    assert predictor.classify(RED).class_names[0] == "red"


def test_an_array_is_rgb_where_the_caller_says_so(tiny):
    with edgevit.Predictor(tiny, color="rgb") as predictor:
        assert predictor.classify(BLUE).class_names[0] == "red"


def test_path_bytes_and_array_answer_the_same(predictor, tmp_path):
    path = tmp_path / "red.png"
    encoded = cv2.imencode(".png", RED)[1].tobytes()
    path.write_bytes(encoded)
    scores = [predictor.classify(source).scores.tolist() for source in (path, encoded, RED)]
    assert scores[0] == scores[1] == scores[2]


def test_a_pillow_image_answers_the_same(predictor):
    image_module = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    picture = image_module.fromarray(RED[..., ::-1])
    assert predictor.classify(picture).scores.tolist() == predictor.classify(RED).scores.tolist()


def test_calling_the_predictor_does_the_models_task(predictor):
    assert predictor(RED).class_names == predictor.classify(RED).class_names


def test_every_stage_is_timed(predictor):
    timings = predictor.classify(RED).timings_ms
    assert list(timings) == ["preprocess", "infer", "postprocess"]
    assert all(spent > 0 for spent in timings.values())


def test_the_three_steps_make_the_same_answer(predictor):
    batch, geometry = predictor.preprocess(RED)
    result = predictor.postprocess(predictor.infer(batch), geometry, top_k=2)
    assert result.scores.tolist() == predictor.classify(RED, top_k=2).scores.tolist()


def test_a_preprocessed_batch_belongs_to_the_caller(predictor):
    batch, _ = predictor.preprocess(RED)
    before = batch.copy()
    predictor.classify(BLUE)
    assert np.array_equal(batch, before)


def test_inferred_outputs_belong_to_the_caller(predictor):
    outputs = predictor.infer(predictor.preprocess(RED)[0])
    before = outputs["logits"].copy()
    predictor.classify(BLUE)
    assert np.array_equal(outputs["logits"], before)


def test_a_batch_of_another_shape_is_refused(predictor):
    with pytest.raises(InputError, match=r"'image' float32 \(1, 3, 8, 8\) was fed"):
        predictor.infer(np.zeros((1, 3, 9, 9), np.float32))


def test_outputs_of_several_images_are_refused(predictor):
    _, geometry = predictor.preprocess(RED)
    with pytest.raises(InputError, match=r"outputs\[i:i \+ 1\]"):
        predictor.postprocess({"logits": np.zeros((2, 3), np.float32)}, geometry)


def test_a_dynamic_batch_gives_each_image_its_own_answer(tiny):
    with edgevit.Predictor(tiny.with_name("tiny_dynamic.onnx")) as predictor:
        batches, geometries = zip(
            *(predictor.preprocess(image) for image in (RED, BLUE)), strict=True
        )
        logits = predictor.infer(np.concatenate(batches))["logits"]
        names = [
            predictor.postprocess({"logits": logits[i : i + 1]}, geometries[i]).class_names[0]
            for i in range(2)
        ]
    assert names == ["red", "blue"]


def test_another_task_names_the_right_method(predictor):
    with pytest.raises(ModelError, match=r"call predictor\.classify\(image\)"):
        predictor.detect(RED)


def test_a_closed_predictor_says_so(tiny):
    predictor = edgevit.Predictor(tiny)
    predictor.close()
    predictor.close()
    with pytest.raises(InferenceError, match="closed"):
        predictor.classify(RED)


def test_threads_share_a_predictor(predictor):
    images = [RED, BLUE] * 40
    with ThreadPoolExecutor(6) as pool:
        names = [result.class_names[0] for result in pool.map(predictor.classify, images)]
    assert names == ["red", "blue"] * 40


@pytest.fixture
def fake_colors(tiny, monkeypatch):
    """The tiny model's Predictor on a FakeBackend with the given fields, and its session."""
    from edgevit.core.runtime import registry

    def load(**fields):
        with edgevit.Predictor(tiny, backend="onnxruntime") as true:
            inputs, outputs = true.session.inputs, true.session.outputs

        def logits(feeds):
            if feeds["image"].mean() > 0.9:
                raise InferenceError("too bright")
            return {"logits": feeds["image"].mean(axis=(2, 3))}

        backend = FakeBackend(inputs, outputs, run=logits, **fields)
        monkeypatch.setattr(registry, "get_backend", lambda name: backend)
        predictor = edgevit.Predictor(tiny, backend="fake")
        return predictor, backend.sessions[0]

    return load


WHITE = np.full_like(RED, 255)
QUEUES = pytest.mark.parametrize(
    "fields", [{}, {"max_in_flight": 1}, {"max_in_flight": 2}, {"max_in_flight": 3}], ids=str
)


@QUEUES
def test_map_answers_in_order_however_many_runs_are_in_flight(fields, fake_colors):
    predictor, session = fake_colors(latency_s=0.001, **fields)
    answers = [answer.class_names[0] for answer in predictor.map([RED, BLUE, BLUE, RED] * 25)]
    assert answers == ["red", "blue", "blue", "red"] * 25
    assert session.runs == 100


@pytest.mark.parametrize("most", [2, 3])
def test_map_keeps_a_runtimes_queue_filled_and_no_fuller(most, fake_colors):
    predictor, session = fake_colors(latency_s=0.01, max_in_flight=most)
    list(predictor.map([RED] * 20))
    assert session.most_in_flight == most


@QUEUES
def test_a_run_that_fails_raises_at_its_own_place(fields, fake_colors):
    predictor, _ = fake_colors(latency_s=0.001, **fields)
    answers = predictor.map([RED, WHITE, BLUE, "nowhere.jpg", RED])
    assert next(answers).class_names[0] == "red"
    with pytest.raises(InferenceError, match="too bright"):
        next(answers)
    assert next(answers).class_names[0] == "blue"
    with pytest.raises(InputError, match=r"nowhere\.jpg"):
        next(answers)
    assert next(answers).class_names[0] == "red"


@QUEUES
def test_threads_have_their_outputs_for_themselves(fields, fake_colors):
    predictor, _ = fake_colors(latency_s=0.001, **fields)

    def work(image):
        batch, _ = predictor.preprocess(image)
        return predictor.infer(batch)["logits"].argmax(), predictor.classify(image).class_ids[0]

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(work, [RED, BLUE] * 40))
    assert answers == [(0, 0), (2, 2)] * 40


@QUEUES
def test_closing_waits_for_outputs_that_are_being_read(fields, fake_colors):
    predictor, session = fake_colors(latency_s=0.02, **fields)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(predictor.classify, image) for image in (RED, BLUE)]
        while session.runs < 2:
            time.sleep(0.001)
        predictor.close()
        assert [job.result().class_names[0] for job in jobs] == ["red", "blue"]
    with pytest.raises(InferenceError, match="closed"):
        predictor.classify(RED)


def test_map_answers_in_order(predictor):
    answers = predictor.map([RED, BLUE, BLUE, RED] * 5)
    assert [answer.class_names[0] for answer in answers] == ["red", "blue", "blue", "red"] * 5


def test_map_of_nothing_is_nothing(predictor):
    assert list(predictor.map([])) == []


def test_map_reads_an_endless_stream_only_a_few_images_ahead(predictor):
    taken = []

    def stream():
        while True:
            taken.append(1)
            yield RED

    answers = predictor.map(stream(), workers=2)
    next(answers)
    assert len(taken) <= 5
    answers.close()


def test_map_raises_at_the_bad_image_and_goes_on_after_it(predictor):
    answers = predictor.map([RED, "nowhere.jpg", BLUE])
    assert next(answers).class_names[0] == "red"
    with pytest.raises(InputError, match=r"nowhere\.jpg"):
        next(answers)
    assert next(answers).class_names[0] == "blue"


@pytest.mark.parametrize("workers", [0, 1.5, True])
def test_map_refuses_an_unusable_number_of_workers(predictor, workers):
    with pytest.raises(InputError, match="workers must be a whole number"):
        predictor.map([RED], workers=workers)


@pytest.mark.parametrize("images", ["photo.jpg", b"bytes", 3], ids=repr)
def test_map_refuses_what_is_one_image(predictor, images):
    with pytest.raises(InputError, match="map takes an iterable of images"):
        predictor.map(images)


def test_an_absent_model_is_named():
    with pytest.raises(ModelNotFoundError, match=r"no model file 'nowhere\.onnx'"):
        edgevit.Predictor("nowhere.onnx")


def test_a_zoo_name_without_its_file_says_how_to_get_it():
    with pytest.raises(ModelNotFoundError, match=r"drive\.google.*edgevit export cas_vit_s"):
        edgevit.Predictor("cas_vit_s")


def test_a_name_close_to_a_zoo_name_is_suggested():
    with pytest.raises(ModelNotFoundError, match="did you mean 'cas_vit_s'"):
        edgevit.Predictor("casvit_s")


def test_a_model_without_spec_says_how_to_give_one(tiny):
    with pytest.raises(SpecError, match="pass spec="):
        edgevit.Predictor(tiny.with_name("bare.onnx"))


def test_a_bare_model_works_with_a_spec(tiny):
    spec = edgevit.Predictor(tiny).spec
    with edgevit.Predictor(tiny.with_name("bare.onnx"), spec=spec) as predictor:
        assert predictor.classify(RED).class_names[0] == "red"


def test_a_bare_model_works_with_a_spec_file(tiny, tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(edgevit.Predictor(tiny).spec.to_json(), encoding="utf-8")
    with edgevit.Predictor(tiny.with_name("bare.onnx"), spec=path) as predictor:
        assert predictor.classify(RED).class_names[0] == "red"


def test_class_names_that_do_not_fit_the_graph_are_refused(tiny):
    spec = edgevit.Predictor(tiny).spec
    two = edgevit.ModelSpec(**{**spec_fields(spec), "class_names": ("a", "b")})
    with pytest.raises(SpecError, match=r"2 class names.*'logits' float32 \(1, 3\)"):
        edgevit.Predictor(tiny, spec=two)


def test_an_input_size_that_does_not_fit_the_graph_is_refused(tiny):
    spec = edgevit.Predictor(tiny).spec
    large = edgevit.ModelSpec(**{**spec_fields(spec), "input": edgevit.InputSpec((16, 16))})
    with pytest.raises(SpecError, match=r"\(1, 3, 16, 16\).*\(1, 3, 8, 8\)"):
        edgevit.Predictor(tiny, spec=large)


def spec_fields(spec):
    return {name: getattr(spec, name) for name in spec.__dataclass_fields__}


def test_an_unknown_backend_is_suggested(tiny):
    with pytest.raises(BackendNotFoundError, match="did you mean 'onnxruntime'"):
        edgevit.Predictor(tiny, backend="onnxruntim")


def test_a_device_that_is_not_here_is_refused(tiny):
    with pytest.raises(DeviceError, match="'cuda:0' is not available to backend 'onnxruntime'"):
        edgevit.Predictor(tiny, backend="onnxruntime", device="cuda:0")


def test_auto_refuses_a_device_that_no_backend_has(tiny):
    with pytest.raises(DeviceError, match="no backend can be used"):
        edgevit.Predictor(tiny, device="tpu")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"preprocess": "fastest"}, "preprocess must be one of exact, fast"),
        ({"color": "hsv"}, "color must be one of rgb, bgr"),
        ({"threads": 0}, "threads must be a whole number from 1 up"),
        ({"options": {"speed": 11}}, "option 'speed' is unknown"),
    ],
    ids=lambda value: str(value),
)
def test_unusable_arguments_are_refused(tiny, argument, message):
    with pytest.raises(InputError, match=message):
        edgevit.Predictor(tiny, **argument)


def test_auto_says_what_it_chose_and_why(tiny, caplog):
    with caplog.at_level("INFO", logger="edgevit.core.runtime.registry"):
        predictor = edgevit.Predictor(tiny)
    assert [f"backend auto: {predictor.backend}" in message for message in caplog.messages] == [
        True
    ]


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_both_preprocessing_modes_answer(tiny, mode):
    with edgevit.Predictor(tiny, preprocess=mode) as predictor:
        assert predictor.preprocess_mode == mode
        assert predictor.classify(RED).class_names[0] == "red"


def test_preprocessing_modes_share_a_loaded_model(predictor):
    twin = predictor.with_preprocess("fast")
    assert (predictor.preprocess_mode, twin.preprocess_mode) == ("exact", "fast")
    assert twin.session is predictor.session
    assert twin.classify(RED).class_names[0] == "red"
    with pytest.raises(InputError, match="must be one of"):
        predictor.with_preprocess("quick")
    predictor.close()
    with pytest.raises(InferenceError, match="closed"):
        twin.classify(RED)
