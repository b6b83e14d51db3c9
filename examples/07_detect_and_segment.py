"""Find cards on a table and label a street, with the two bundled models of these tasks."""

from pathlib import Path

import edgevit

pictures = Path(__file__).parent / "pictures"

with edgevit.Predictor("cas_vit_xs_retinanet_cards") as predictor:
    cards = predictor.detect(pictures / "cards.jpg", score_threshold=0.5)
    for name, score, box in zip(cards.class_names, cards.scores, cards.boxes, strict=True):
        print(f"{name:6} {score:.0%} at {box.round().astype(int).tolist()} (x0, y0, x1, y1)")

# Trained on CamVid: for personal and research use only.
with edgevit.Predictor("cas_vit_xs_semantic_fpn_camvid") as predictor:
    street = predictor.segment(pictures / "street.jpg")
    for name, count in zip(street.class_names, street.pixels_per_class(), strict=True):
        print(f"{name:12} {count / street.class_map.size:5.1%}")
