"""What runs on the device: NumPy and OpenCV alone, no vendor's library, no torch, no onnx.

Rooms, each of which imports only rooms named after it: `tasks` (outputs become results), `image`
(an image becomes a batch) and `runtime` (which backend, and how it is called), `model` (what a
model file says) and `machine` (what this computer is), `records` (strict reading of documents) and
`cache` (what can be made again).
"""
