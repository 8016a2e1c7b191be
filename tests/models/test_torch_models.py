from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from motet.errors import ModelFailedError, ModelLoadError, TypeMismatchError, UnknownNameError
from motet.models import handler_by_name, local_path
from motet.models.locate import runs_code

handler = handler_by_name("torch")
ROWS = torch.export.Dim("rows")


class Both(NamedTuple):
    total: Any
    largest: Any


class Linear(nn.Module):
    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(size, 2, bias=False)
        self.drop = nn.Dropout(0.5)
        nn.init.ones_(self.layer.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.layer(x))


class Parts(nn.Module):
    """Takes (a, b); returns what `form` makes of their sum and difference."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        self.form = form

    def forward(self, a: Any, b: Any) -> Any:
        return self.form(a + b, a - b)


class Writes(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.mul_(2)


class Sometimes(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.mul_(2) if len(x) > 1 else x * 2


class NotAModule:
    pass


@pytest.fixture
def export(tmp_path: Path) -> Any:
    def save(model: nn.Module, *given: Any, rows: Any = ROWS, shapes: Any = None) -> str:
        shapes = shapes or tuple({0: rows} if rows else None for _ in given)
        torch.export.save(torch.export.export(model, given, dynamic_shapes=shapes), tmp_path / "m.pt2")
        return str(tmp_path / "m.pt2")

    return save


@pytest.fixture
def script(tmp_path: Path) -> Any:
    def save(model: nn.Module) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(model).save(str(tmp_path / "m.pt"))
        return str(tmp_path / "m.pt")

    return save


@pytest.fixture
def weights(tmp_path: Path) -> Any:
    def save(model: nn.Module, name: str = "m.pth", wrap: Any = lambda state: state) -> str:
        torch.save(wrap(model.state_dict()), tmp_path / name)
        return str(tmp_path / name)

    return save


LINEAR = {"module": f"{__name__}:Linear"}
ONES = np.ones((2, 3), np.float32)


def test_an_exported_program_says_what_it_takes_and_gives(export: Any, source: Any) -> None:
    given = source(export(Linear().eval(), torch.ones(4, 3)))
    assert str(handler.signature(given)) == "(x: float32[3]) -> (output: float32[2])"
    assert handler.signature(given).fixed_rows is None
    answer = handler.load(given)({"x": ONES})["output"]
    assert (answer.dtype, answer.tolist()) == (np.float32, [[3, 3], [3, 3]])


@pytest.mark.parametrize(
    ("form", "names"),
    [
        (lambda s, d: {"sum": s, "difference": d}, ["sum", "difference"]),
        (lambda s, d: (s, d), ["output_0", "output_1"]),
        (lambda s, d: [s, d], ["output_0", "output_1"]),
        (lambda s, d: (s,), ["output"]),
    ],
    ids=["dict", "tuple", "list", "one"],
)
def test_outputs_of_a_program_have_names(export: Any, source: Any, form: Any, names: list[str]) -> None:
    given = source(export(Parts(form), torch.ones(4), torch.ones(4)))
    assert list(handler.signature(given).outputs) == names
    answers = handler.load(given)({"a": np.full(3, 5, np.float32), "b": np.full(3, 2, np.float32)})
    assert [value.tolist()[0] for value in answers.values()] == [7, 3][: len(names)]


def test_declared_names_take_the_place_of_the_programs_own(export: Any, source: Any) -> None:
    path = export(Parts(lambda s, d: (s, d)), torch.ones(4), torch.ones(4))
    given = source(path, {"left": "float32", "right": "float32"}, {"plus": "float32", "minus": "float32"})
    answers = handler.load(given)({"left": np.full(2, 5, np.float32), "right": np.full(2, 2, np.float32)})
    assert {name: value.tolist() for name, value in answers.items()} == {"plus": [7, 7], "minus": [3, 3]}
    swapped = handler.load(source(path, {"b": "float32", "a": "float32"}))
    assert swapped({"a": np.full(1, 5, np.float32), "b": np.full(1, 2, np.float32)})["output_1"].tolist() == [3]
    with pytest.raises(TypeMismatchError) as caught:
        handler.signature(source(path, {"left": "float32"}))
    assert "the declared inputs are (left: float32), the program has (a: float32, b: float32)" in str(caught.value)
    with pytest.raises(TypeMismatchError, match=r"declared inputs are \(a: float64, b: float32\), the program has"):
        handler.signature(source(path, {"a": "float64", "b": "float32"}))
    with pytest.raises(TypeMismatchError, match="'a' is declared as string, which no tensor can hold"):
        handler.signature(source(path, {"a": "string"}))


def test_declared_outputs_choose_from_a_dict(export: Any, source: Any) -> None:
    path = export(Parts(lambda s, d: {"sum": s, "difference": d}), torch.ones(4), torch.ones(4))
    model = handler.load(source(path, outputs={"difference": "float32"}))
    assert list(model({"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)})) == ["difference"]
    with pytest.raises(TypeMismatchError, match=r"declared outputs are \(product: float32\), the program has"):
        handler.signature(source(path, outputs={"product": "float32"}))


class Mean(nn.Module):
    def forward(self, image: Any) -> Any:
        return image.float().mean(dim=(1, 2))


def test_axes_that_vary_and_rows_that_are_fixed(export: Any, source: Any) -> None:
    sizes = ({0: ROWS, 1: torch.export.Dim("h")},)
    varies = source(export(Mean(), torch.ones(4, 5, 6, dtype=torch.uint8), shapes=sizes))
    assert str(handler.signature(varies)) == "(image: uint8[?,6]) -> (output: float32)"
    fixed = handler.signature(source(export(Linear().eval(), torch.ones(4, 3), rows=None)))
    assert (str(fixed), fixed.fixed_rows) == ("(x: float32[3]) -> (output: float32[2])", 4)


class Loss(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.sum()


def test_what_has_no_row_axis_is_refused(export: Any, source: Any) -> None:
    path = export(Loss(), torch.ones(4, 3))
    with pytest.raises(ModelLoadError, match="output 'output' is one value whatever the rows are: it has no row axis"):
        handler.signature(source(path))


def test_a_program_exported_in_training_mode_is_warned_of(export: Any, source: Any) -> None:
    given = source(export(Linear().train(), torch.ones(4, 3)))
    with pytest.warns(
        UserWarning, match=r"model 'm' \(.*\) was exported in training mode \(its aten\.dropout\.default is at work\)"
    ):
        handler.signature(given)


def test_torchscript_runs_in_evaluation_mode(script: Any, source: Any) -> None:
    given = source(script(Linear().train()), outputs={"scores": "float32[2]"})
    assert str(handler.signature(given)) == "(x: any) -> (scores: float32[2])"
    assert handler.load(given)({"x": ONES})["scores"].tolist() == [[3, 3], [3, 3]]


def test_weights_for_a_module(weights: Any, source: Any) -> None:
    given = source(weights(Linear()), {"x": "float32[3]"}, {"scores": "float32[2]"}, options=LINEAR)
    assert str(handler.signature(given)) == "(x: float32[3]) -> (scores: float32[2])"
    assert handler.load(given)({"x": ONES})["scores"].tolist() == [[3, 3], [3, 3]]
    small = source(weights(Linear(1), "small.pth"), options={**LINEAR, "kwargs": {"size": 1}})
    assert handler.load(small)({"x": ONES[:, :1]})["output"].tolist() == [[1, 1], [1, 1]]


def test_weights_inside_a_checkpoint(weights: Any, source: Any) -> None:
    path = weights(Linear(), wrap=lambda state: {"epoch": 3, "model": state})
    model = handler.load(source(path, options={**LINEAR, "weights_key": "model"}))
    assert model({"x": ONES})["output"].tolist() == [[3, 3], [3, 3]]
    with pytest.raises(
        ModelLoadError, match="the file has no 'state'; it has epoch, model\n  hint: name one of those as weights_key"
    ):
        handler.load(source(path, options={**LINEAR, "weights_key": "state"}))


def test_safetensors(source: Any, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(Linear().state_dict(), tmp_path / "m.safetensors")
    model = handler.load(source(tmp_path / "m.safetensors", options=LINEAR))
    assert model({"x": ONES})["output"].tolist() == [[3, 3], [3, 3]]
    (tmp_path / "m.safetensors").write_bytes((tmp_path / "m.safetensors").read_bytes()[:-1])
    with pytest.raises(ModelLoadError, match="the weights cannot be read: SafetensorError: "):
        handler.load(source(tmp_path / "m.safetensors", options=LINEAR))


def test_weights_that_do_not_fit_are_refused(weights: Any, source: Any) -> None:
    path = weights(Linear(5))
    with pytest.raises(
        ModelLoadError,
        match=r"the weights do not fit the module: [\s\S]*size mismatch for layer\.weight[\s\S]*hint: the module is",
    ):
        handler.load(source(path, options=LINEAR))
    with pytest.raises(
        ModelLoadError, match="the module choir:Linear cannot be made: ModuleNotFoundError: No module named 'choir'"
    ):
        handler.load(source(path, options={"module": "choir:Linear"}))
    with pytest.raises(ModelLoadError, match="NotAModule gives a NotAModule\n  hint: name a class of"):
        handler.load(source(path, options={"module": f"{__name__}:NotAModule"}))


def test_files_that_are_something_else_are_refused(weights: Any, source: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ModelLoadError, match=r"the file holds no program .*\n  hint: name the module that the weights are for"
    ):
        handler.signature(source(weights(Linear(), "m.pt")))
    torch.save(Linear(), tmp_path / "whole.pth")
    with pytest.raises(ModelLoadError, match=r"the file holds more than weights .*\n  hint: save the weights alone"):
        handler.signature(source(tmp_path / "whole.pth", options=LINEAR))
    torch.save(torch.ones(1), tmp_path / "tensor.pth")
    with pytest.raises(
        ModelLoadError, match=r"the file holds a Tensor, not weights\n  hint: save model\.state_dict\(\)"
    ):
        handler.signature(source(tmp_path / "tensor.pth", options=LINEAR))
    for name in ("m.pt2", "m.pt", "garbage.pth"):
        (tmp_path / name).write_bytes(b"garbage")
        with pytest.raises(ModelLoadError, match=rf"model 'm' \(.*{name}\): "):
            handler.signature(source(tmp_path / name, options=LINEAR if name == "garbage.pth" else {}))


def test_only_files_without_code_are_loaded_from_remote_places() -> None:
    said = {suffix: runs_code(handler, f"memory://m{suffix}") for suffix in handler.suffixes}
    assert said == {".pt2": True, ".pt": True, ".pth": False, ".safetensors": False}
    with pytest.raises(ModelLoadError, match="runs any code"):
        local_path("memory://m.pt2", base=None, runs_code=said[".pt2"])


@pytest.mark.parametrize("writeable", [True, False])
def test_a_model_that_writes_to_its_inputs_leaves_the_columns_alone(weights: Any, source: Any, writeable: bool) -> None:
    model = handler.load(source(weights(Writes()), options={"module": f"{__name__}:Writes"}))
    x = np.ones((2, 3), np.float32)
    x.flags.writeable = writeable
    for _ in range(3):
        assert model({"x": x})["output"].tolist() == [[2, 2, 2]] * 2
    assert x.tolist() == [[1, 1, 1]] * 2


def test_a_model_that_starts_to_write_to_its_inputs_fails(weights: Any, source: Any) -> None:
    path, options = weights(Sometimes()), {"module": f"{__name__}:Sometimes"}
    model = handler.load(source(path, options=options))
    model({"x": ONES[:1]})
    with pytest.raises(ModelFailedError, match=r"it changed its inputs, .*\n  hint: say `with: \{copy_inputs: true\}`"):
        model({"x": ONES.copy()})
    careful = handler.load(source(path, options={**options, "copy_inputs": True}))
    careful({"x": ONES[:1]})
    assert careful({"x": ONES})["output"].tolist() == [[2, 2, 2]] * 2
    assert ONES.tolist() == [[1, 1, 1]] * 2


def test_arrays_of_any_layout_and_dtype(weights: Any, source: Any) -> None:
    model = handler.load(source(weights(nn.Identity()), {"x": "any"}, options={"module": "torch.nn:Identity"}))
    for dtype in ("bool", "uint8", "int16", "int64", "float16", "float64"):
        x = np.arange(6).reshape(2, 3).astype(dtype)
        for given in (x, x.T, x[::-1], x[:, ::2]):
            answer = model({"x": given})["output"]
            assert (answer.dtype, answer.tolist()) == (given.dtype, given.tolist())


class Half(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.to(torch.bfloat16), [row[row > 0] for row in x]


def test_bfloat16_becomes_float32_and_lists_stay_rows(weights: Any, source: Any) -> None:
    outputs = {"half": "float32[2]", "positive": "float32[?]"}
    model = handler.load(source(weights(Half()), outputs=outputs, options={"module": f"{__name__}:Half"}))
    answers = model({"x": np.array([[1, -1], [2, 3]], np.float32)})
    assert (answers["half"].dtype, [row.tolist() for row in answers["positive"]]) == (np.float32, [[1], [2, 3]])


@pytest.mark.parametrize("message", ["DefaultCPUAllocator: can't allocate memory", "CUDA out of memory"])
def test_memory_that_runs_out_is_a_memory_error(weights: Any, source: Any, message: str) -> None:
    model = handler.load(source(weights(Linear()), options=LINEAR))

    def fail(*_: Any) -> None:
        raise RuntimeError(message)

    model._function = fail  # type: ignore[attr-defined]
    with pytest.raises(MemoryError, match=message):
        model({"x": ONES})


class Huge(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.repeat(2**45)


def test_a_real_allocation_that_fails_is_a_memory_error(weights: Any, source: Any) -> None:
    model = handler.load(source(weights(Huge()), options={"module": f"{__name__}:Huge"}))
    with pytest.raises(MemoryError):
        model({"x": np.ones(10, np.float32)})


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_a_call_has_the_models_threads_and_the_program_its_own(weights: Any, source: Any) -> None:
    for own, asked in ((1, 2), (2, 1), (3, 3)):
        torch.set_num_threads(own)
        model = handler.load(source(weights(Linear()), options=LINEAR, threads=asked))
        within: list[int] = []

        def linear(x: Any, within: list[int] = within) -> Any:
            within.append(torch.get_num_threads())
            return x

        model._function = linear  # type: ignore[attr-defined]
        model({"x": ONES})
        assert (within, torch.get_num_threads()) == ([asked], own)


def test_a_device_that_is_not_there_is_refused(weights: Any, source: Any) -> None:
    number = torch.cuda.device_count()
    with pytest.raises(
        ModelLoadError, match=rf"there is no device 'cuda:{number}'; torch .* sees {number} CUDA devices"
    ):
        handler.load(source(weights(Linear()), options=LINEAR, device=f"cuda:{number}"))
    with pytest.raises(UnknownNameError, match=r"unknown device 'tpu'; .*known: cpu, cuda, cuda:N"):
        handler.load(source(weights(Linear()), options=LINEAR, device="tpu"))
    with pytest.raises(UnknownNameError, match=r"unknown option 'modul'; did you mean 'module'"):
        handler.load(source(weights(Linear()), options={"modul": "x"}))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_models_run_on_cuda(export: Any, weights: Any, source: Any) -> None:
    for given in (
        source(weights(Linear()), options=LINEAR, device="cuda"),
        source(export(Linear().eval(), torch.ones(4, 3)), device="cuda"),
    ):
        model = handler.load(given)
        assert model({"x": ONES})["output"].tolist() == [[3, 3], [3, 3]]
        model.close()


def test_several_threads_may_call_it(weights: Any, source: Any) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(OrderedDict(a=nn.Linear(3, 8), b=nn.ReLU(inplace=True), c=nn.Linear(8, 2)))
    options = {"module": f"{__name__}:network", "kwargs": {}}
    model = handler.load(source(weights(network), {"x": "float32[3]"}, options=options))
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    whole = model({"x": x})["output"]
    with ThreadPoolExecutor(4) as pool:
        for start, answer in zip(
            range(0, 64, 4), pool.map(lambda at: model({"x": x[at : at + 4]}), range(0, 64, 4)), strict=True
        ):
            np.testing.assert_allclose(answer["output"], whole[start : start + 4], rtol=1e-5)


def network() -> nn.Module:
    return nn.Sequential(OrderedDict(a=nn.Linear(3, 8), b=nn.ReLU(inplace=True), c=nn.Linear(8, 2)))


class Centred(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0)


class OneRow(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(1, 3) * 2


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if float(x[0, 0]) < 5.0 else -x


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["centred", "one row", "branching", "quantized"])
def test_each_row_is_answered_as_it_is_alone(script: Any, source: Any, kind: str, caplog: Any) -> None:
    torch.manual_seed(0)
    modules: dict[str, Any] = {
        "centred": Centred(),
        "one row": OneRow(),
        "branching": Branching(),
        "quantized": torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(3, 2)), {nn.Linear}, torch.qint8),
    }
    module = modules[kind].eval()
    path = script(module)
    x = np.array([[1, 2, 3], [-1, 0.5, 0.25], [500, 2, -90], [0.1, 0.2, 0.3]], np.float32)
    model = handler.load(
        source(path, {"x": "float32[3]"}, {"y": "float32[3]" if kind != "quantized" else "float32[2]"})
    )
    alone = [module(torch.from_numpy(x[row : row + 1])).detach().numpy() for row in range(len(x))]
    np.testing.assert_allclose(model({"x": x})["y"], np.concatenate(alone), rtol=1e-6)
    assert "each row is a call of its own" in caplog.text
