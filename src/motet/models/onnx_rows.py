"""Whether the rows of an ONNX graph meet: found by following the row axis from the inputs through the operators.

Rows are on the first axis of every input. An operator keeps them apart (it works place by place, along other axes, or
with weights), mixes them (a softmax along the first axis, the scale of a dynamically quantized tensor), or is one of which
that cannot be told from the graph alone; then a trial tells (`onnx.py`). Operators: https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from motet.models.onnx_proto import OnnxFile, OnnxNode

__all__ = ["RowSharing", "quantizes_together", "reached_by_inputs", "rows_of", "same_bits"]


def _words(text: str) -> list[str]:
    return text.split()


class RowSharing(Enum):
    """What becomes of rows that share a call."""

    APART = "apart"
    """No row's answer depends on another row."""
    TOGETHER = "together"
    """A row's answer depends on those beside it."""
    UNKNOWN = "unknown"
    """It cannot be told from the operators."""


_PLACE_BY_PLACE = frozenset(
    _words("""Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil
    Celu Clip Cos Cosh Div Dropout Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf
    IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink
    Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor QuantizeLinear
    DequantizeLinear ai.onnx.ml:Binarizer ai.onnx.ml:LabelEncoder ai.onnx.ml:Imputer ai.onnx.ml:Scaler""")
)
"""Each value of the answer comes from the values at its place."""
_ROW_BY_ROW = frozenset(
    _words("""AveragePool Conv ConvInteger ConvTranspose DepthToSpace GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization
    InstanceNormalization LRN LpPool MaxPool QLinearConv SpaceToDepth StringNormalizer TfIdfVectorizer
    ai.onnx.ml:ArrayFeatureExtractor ai.onnx.ml:CategoryMapper ai.onnx.ml:FeatureVectorizer ai.onnx.ml:LinearClassifier
    ai.onnx.ml:LinearRegressor ai.onnx.ml:Normalizer ai.onnx.ml:OneHotEncoder ai.onnx.ml:SVMClassifier
    ai.onnx.ml:SVMRegressor ai.onnx.ml:TreeEnsemble ai.onnx.ml:TreeEnsembleClassifier ai.onnx.ml:TreeEnsembleRegressor
    ai.onnx.ml:ZipMap com.microsoft:FusedConv""")
)
"""By their definition the first axis of the data is that of the rows."""
_SOFTMAX = ("Softmax", "LogSoftmax", "Hardmax")
_ALONG_AXIS = {
    **dict.fromkeys(_SOFTMAX, -1), "ArgMax": 0, "ArgMin": 0, "LayerNormalization": -1, "LpNormalization": -1,
    "RMSNormalization": -1, "Concat": None, "Split": 0,
}  # fmt: skip
"""What works along one axis, and the default of `axis`."""
_AXES_GIVEN = ("CumSum", "Squeeze", "Unsqueeze")
"""Their second input says the axes, as that of the reductions does."""
_OF_ALL_VALUES = frozenset(
    _words("""DynamicQuantizeLinear NonMaxSuppression Unique com.microsoft:DynamicQuantizeMatMul
    com.microsoft:DynamicQuantizeLSTM""")
)
"""What they give, a scale or a list, is made of all values, so of all rows."""
_PRODUCTS = frozenset(("MatMul", "MatMulInteger", "QLinearMatMul", "com.microsoft:FusedMatMul"))
_SAME_RANK = frozenset(
    _words("""AveragePool BatchNormalization Conv ConvInteger ConvTranspose CumSum GlobalAveragePool GlobalMaxPool MaxPool QLinearConv
    Transpose""")
)
_EXACT = frozenset(
    _words("""Abs Add And ArgMax ArgMin AveragePool BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast
    CastLike Ceil Clip Concat Constant Conv DequantizeLinear Div Dropout Equal Erf Flatten Floor Gather Gemm
    GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual HardSigmoid HardSwish Hardmax Identity IsInf IsNaN LeakyRelu Less
    LessOrEqual LogSoftmax MatMul Max MaxPool Mean Min Mul Neg Not Or PRelu QuantizeLinear Reciprocal Relu Reshape Round
    Sigmoid Sign Softmax Split Sqrt Squeeze StringNormalizer Sub Sum Tanh TfIdfVectorizer ThresholdedRelu Transpose Unsqueeze
    Where Xor ai.onnx.ml:ArrayFeatureExtractor ai.onnx.ml:Binarizer ai.onnx.ml:CategoryMapper ai.onnx.ml:FeatureVectorizer
    ai.onnx.ml:LabelEncoder ai.onnx.ml:OneHotEncoder ai.onnx.ml:Scaler ai.onnx.ml:TreeEnsemble
    ai.onnx.ml:TreeEnsembleClassifier ai.onnx.ml:TreeEnsembleRegressor ai.onnx.ml:ZipMap com.microsoft:FusedConv""")
)
_GRAPHS_INSIDE = ("If", "Loop", "Scan")
"""They see the names of the graph around them, without having them as inputs."""


def quantizes_together(file: OnnxFile) -> bool:
    """Whether a graph takes one scale for all values of a call, so that rows which share it change each other's answers."""
    return any(node.operator in _OF_ALL_VALUES for node in file.nodes)


def rows_of(file: OnnxFile) -> RowSharing:
    """Whether rows that share a call of this graph can change each other's answers."""
    if any(node.operator in _OF_ALL_VALUES and not file.weights.keys() >= set(node.inputs[:1]) for node in file.nodes):
        return RowSharing.TOGETHER
    ranks: dict[str, int | None] = {each.name: None if each.axes is None else len(each.axes) for each in file.inputs}
    for node in file.nodes:
        if any(name in ranks for name in node.inputs):
            step = _Step(node, ranks, file)
            became = step.rows()
            if became is not RowSharing.APART:
                return became
            ranks.update(dict.fromkeys(node.outputs, step.rank_behind()))
        elif node.operator in _GRAPHS_INSIDE:
            return RowSharing.UNKNOWN
    return RowSharing.APART


def same_bits(file: OnnxFile) -> bool:
    """Whether answers on the processor have the same bits whatever shares the call, of a graph that keeps rows apart.

    Only operators that were seen to do so count (`tests/differential/test_onnx_nodes.py` looks again). Others add in an
    order that depends on where a row begins in memory, or compute a vector's last values by another formula than the rest.
    """
    return all(node.operator in _EXACT for node in file.nodes)


def reached_by_inputs(file: OnnxFile) -> frozenset[str]:
    """The names of all tensors that an input can change."""
    reached = {tensor.name for tensor in file.inputs}
    for node in file.nodes:
        if node.operator in _GRAPHS_INSIDE or not reached.isdisjoint(node.inputs):
            reached.update(node.outputs)
    return frozenset(reached)


class _Step:
    """One operator, of which at least one input has the rows on its first axis.

    Args:
        node: the operator.
        ranks: how many axes the tensors that have rows have, by name; None where that is not known.
        file: the whole graph, for its constants.
    """

    def __init__(self, node: OnnxNode, ranks: Mapping[str, int | None], file: OnnxFile) -> None:
        self._node, self._ranks, self._file = node, ranks, file
        self._with_rows = [name in ranks for name in node.inputs]
        self._rank = next(ranks[name] for name in node.inputs if name in ranks)

    def rows(self) -> RowSharing:
        """What becomes of the rows; where they are kept apart they are on the first axis of the outputs, too."""
        operator = self._node.operator
        if operator in _PLACE_BY_PLACE:
            return _apart_if(self._places_fit())
        if operator == "MaxPool" and len(self._node.outputs) > 1:
            return RowSharing.TOGETHER  # its indices count from the first row
        if operator in _ROW_BY_ROW:
            return _apart_if(self._only_first)
        if operator in _ALONG_AXIS or operator.startswith("Reduce") or operator == "CumSum":
            return self._along(self._axes(), takes_apart=operator in ("Concat", "Split"))
        if operator == "BatchNormalization":
            return RowSharing.TOGETHER if self._integer("training_mode", 0) else RowSharing.APART
        return _apart_if(self._moves_no_row(operator))

    def _moves_no_row(self, operator: str) -> bool:
        """Whether products, lookups and changes of shape leave the rows where they are."""
        if operator in _PRODUCTS:
            return self._only_first and self._rank is not None and self._rank > 1
        if operator == "Gemm":
            return self._only_first and not self._integer("transA", 0)
        if operator == "Flatten":
            return self._integer("axis", 1) == 1
        if operator == "Transpose":
            return self._node.integers.get("perm", (1,))[0] == 0
        if operator == "Reshape":
            return self._only_first and self._constants()[:1] == (0,) and not self._integer("allowzero", 0)
        if operator in ("Unsqueeze", "Squeeze"):
            return min(self._axes(), default=0) > 0
        if operator == "Gather":  # a table looked up by rows of indices; or places along another axis, by constants
            data, indices = self._with_rows[:2]
            return data != indices and (self._integer("axis", 0) == 0) == indices
        return False

    def rank_behind(self) -> int | None:
        """How many axes the outputs of an operator that keeps rows apart have; None where that is not known."""
        operator, rank = self._node.operator, self._rank
        if operator in ("Gemm", "Flatten"):
            return 2
        if operator == "Reshape":
            return len(self._constants())
        if operator in _PRODUCTS:
            weight = self._file.weights.get(self._node.inputs[1])
            return None if weight is None or rank is None else max(rank, weight) if weight > 1 else rank - 1
        if operator.startswith("Reduce") or operator in ("ArgMax", "ArgMin"):
            return rank if rank is None or self._integer("keepdims", 1) else rank - len(self._axes())
        if operator in _SAME_RANK or operator in _PLACE_BY_PLACE or operator in _ALONG_AXIS:
            return rank
        return None

    def _places_fit(self) -> bool:
        """Whether all inputs with rows have as many axes, and the others, which are stretched, no more."""
        if len(self._node.inputs) == 1:
            return True
        given = [name for name in self._node.inputs if name]
        others = [self._file.weights.get(name) for name in given if name not in self._ranks]
        rank = self._rank
        if rank is None or any(self._ranks[name] != rank for name in given if name in self._ranks):
            return False
        return all(other is not None and other <= rank for other in others)

    def _along(self, axes: tuple[int, ...], *, takes_apart: bool) -> RowSharing:
        """What working along these axes does with rows on the first one."""
        if not axes:
            return self._along_none()
        if 0 in axes or (self._rank is not None and -self._rank in axes):
            return RowSharing.UNKNOWN if takes_apart else RowSharing.TOGETHER  # rows put elsewhere need not meet
        known = self._rank is not None or min(axes) > 0
        return _apart_if(known and (self._node.operator != "Concat" or all(self._with_rows)))

    def _along_none(self) -> RowSharing:
        """Axes that are left out are all of them; those that are computed are not known."""
        if not self._node.operator.startswith("Reduce") or len([name for name in self._node.inputs if name]) > 1:
            return RowSharing.UNKNOWN
        return RowSharing.APART if self._integer("noop_with_empty_axes", 0) else RowSharing.TOGETHER

    def _axes(self) -> tuple[int, ...]:
        """The axes that an operator works along: an attribute, a constant, or its default."""
        said = self._node.integers.get("axes") or self._node.integers.get("axis")
        operator = self._node.operator
        if not said and (operator.startswith("Reduce") or operator in _AXES_GIVEN):
            return self._constants()
        default = _ALONG_AXIS.get(operator)
        if said or default is None:
            return said or ()
        return (1,) if operator in _SOFTMAX and self._file.opset < 13 else (default,)

    def _constants(self) -> tuple[int, ...]:
        """The integers that the second input holds, where it is a constant."""
        return self._file.integers.get(self._node.inputs[1], ()) if len(self._node.inputs) > 1 else ()

    def _integer(self, name: str, default: int) -> int:
        return next(iter(self._node.integers.get(name, ())), default)

    @property
    def _only_first(self) -> bool:
        """Whether rows come by the first input alone, and the others are weights."""
        return self._with_rows[0] and not any(self._with_rows[1:])


def _apart_if(apart: bool) -> RowSharing:
    return RowSharing.APART if apart else RowSharing.UNKNOWN
