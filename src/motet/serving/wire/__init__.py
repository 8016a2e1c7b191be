"""Bodies of requests and answers.

infer.py      inference requests and answers of the Open Inference Protocol: JSON, and tensors as bytes behind it
elements.py   the elements of a tensor in JSON
compress.py   gzip and deflate
predict.py    rows as people write them
"""
