"""The messages of TensorFlow Serving's prediction service, in a pool of their own: see `motet.oip.messages`."""

from __future__ import annotations

from motet.oip.messages import message_class, pool_of

__all__ = [
    "METHODS",
    "SERVICE",
    "DataType",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "PredictRequest",
    "PredictResponse",
    "SignatureDefMap",
    "TensorProto",
]

SERVICE = "tensorflow.serving.PredictionService"
METHODS = ("Predict", "GetModelMetadata")
_POOL = pool_of("motet.models.tfs")

DataType = _POOL.FindEnumTypeByName("tensorflow.DataType")
TensorProto = message_class("tensorflow.TensorProto", _POOL)
PredictRequest = message_class("tensorflow.serving.PredictRequest", _POOL)
PredictResponse = message_class("tensorflow.serving.PredictResponse", _POOL)
GetModelMetadataRequest = message_class("tensorflow.serving.GetModelMetadataRequest", _POOL)
GetModelMetadataResponse = message_class("tensorflow.serving.GetModelMetadataResponse", _POOL)
SignatureDefMap = message_class("tensorflow.serving.SignatureDefMap", _POOL)
