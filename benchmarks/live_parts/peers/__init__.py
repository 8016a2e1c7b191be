"""Servers that Motet is compared with: `python -m benchmarks.live_parts.peers.NAME --port P --job mlp --encoding json`.

They need the module of their name, numpy, onnxruntime and msgspec, and nothing of Motet. All answer
`POST /binary` (rows of 784 uint8; the answer is all labels as int64, then all scores as float32, little-endian)
and `POST /json` (`{"image": [784 numbers a row]}`; the answer is `{"label": [...], "score": [...]}`).
"""
