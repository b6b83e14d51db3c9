"""The three steps of a prediction by hand, and a crop mapped back to the picture it came from."""

from pathlib import Path

import cv2
import numpy as np

import edgevit

picture = Path(__file__).parent / "pictures" / "airliner.jpg"

with edgevit.Predictor() as predictor:
    batch, geometry = predictor.preprocess(picture)
    outputs = predictor.infer(batch)
    result = predictor.postprocess(outputs, geometry, top_k=3)
    print("batch", batch.shape, "outputs", {name: array.shape for name, array in outputs.items()})
    print("answer:", result)

height, width = geometry.input_size
seen = geometry.boxes_to_source(np.array([[0, 0, width, height]], np.float32))[0]
print("the network saw the pixels", seen.round().astype(int).tolist(), "(x0, y0, x1, y1)")

drawn = edgevit.draw(cv2.imread(str(picture)), result)
print("drawn picture:", drawn.shape)
