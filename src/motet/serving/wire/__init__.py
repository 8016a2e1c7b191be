"""The tensors of the Open Inference Protocol in the bodies of HTTP requests. No sockets.

envelope.py  the JSON of a request: which tensors, in which form, and which outputs are wanted
infer.py     requests and answers of one served model
plan.py      what is kept of the JSON of requests
template.py  what requests have in common that differ in the bytes of their tensors only
answer.py    answers: a text that is made once for answers of the same form, and the elements
tensors.py   elements in JSON; those in bytes are in `motet.oip.tensors`
compress.py  gzip and deflate, bounded
errors.py    how an error is told; cors.py: what lets pages of other origins read an answer
"""
