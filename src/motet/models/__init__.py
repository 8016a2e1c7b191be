"""Models: what is loaded once and called on batches.

Where a change goes:

    handler.py      the protocol: Handler.signature(source), Handler.load(source) -> LoadedModel
    registry.py     URI -> handler, by scheme or suffix
    fetch.py        location -> local path; remote.py reads files, cache.py keeps them, digest.py tells them apart
    locate.py       the three in one call: URI -> handler and local files
    common.py       what handlers share
    graph_files.py  the files of graphs, and the places of models that they name

One framework a file, imported only when a model of it is loaded:

    onnx.py (onnx_proto.py reads the file's types)   sklearn.py   torch.py   xgboost.py   lightgbm.py   catboost.py
    keras.py   jax.py   jax_function.py   litert.py   openvino.py (instances.py lends what bears one call at a time)   mlflow.py   python.py
    tensorrt.py (not run yet, for want of a GPU)
    spacy.py   llama.py   vllm.py (both asked as what is behind an endpoint, by openai/)

Models behind an address, one protocol a file; calling.py is what they share:

    oip.py (REST)   oip_grpc.py   tfserving.py (REST)   tfserving_grpc.py (tfs/ has its messages)   calling_grpc.py
    openai/ (language models: prompts, answers, embeddings; a request a row)
"""

from motet.models.fetch import digest, local_path
from motet.models.handler import Handler, LoadedModel, ModelSource
from motet.models.locate import LocatedModel, locate
from motet.models.registry import find_handler, handler_by_name, known_schemes, known_suffixes

__all__ = [
    "Handler",
    "LoadedModel",
    "LocatedModel",
    "ModelSource",
    "digest",
    "find_handler",
    "handler_by_name",
    "known_schemes",
    "known_suffixes",
    "local_path",
    "locate",
]
