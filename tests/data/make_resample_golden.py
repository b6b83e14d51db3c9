"""Write resample_golden.npz: a small image and Pillow's resizes of it, up and down.

Run `python tests/data/make_resample_golden.py` with Pillow installed.
"""

from pathlib import Path

import numpy as np
from PIL import Image

random = np.random.default_rng(7)
image = np.clip(random.normal(128, 90, (37, 45, 3)), 0, 255).astype(np.uint8)
image[10:25, 12:30] = (0, 255, 128)
arrays = {"image": image}
for name in ("bicubic", "bilinear", "lanczos", "box"):
    for height, width in ((13, 19), (61, 40)):
        resized = Image.fromarray(image).resize((width, height), Image.Resampling[name.upper()])
        arrays[f"{name}_{height}x{width}"] = np.asarray(resized)
np.savez_compressed(Path(__file__).parent / "resample_golden.npz", **arrays)
