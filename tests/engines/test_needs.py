"""What models ask for reaches whoever schedules workers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import motet as mt
from motet.engines.needs import need_of, said
from motet.engines.splits.engine import needed
from motet.runtime.resources.need import Need

MODEL = Path(__file__).parents[2] / "examples" / "fashion" / "models" / "linear.onnx"
GB = 10**9


def model(name: str, **options: Any) -> mt.Model:
    return mt.Model(str(MODEL), name=name, **options)


def graph(*models: mt.Model, **route: Any) -> mt.Graph:
    """An ensemble of models, or a route by key to each."""
    image = mt.input("image", "float32[28,28]")
    if route:
        members = {each.name: each for each in models}
        return mt.Graph(
            "g", outputs={"p": mt.route(members, image, key=mt.input("k", "string"), **route).probabilities}
        )
    return mt.Graph("g", outputs={"p": mt.ensemble(list(models), image, combine="average").probabilities})


def asks(memory: int = 0, **more: Any) -> dict[str, Any]:
    return {"memory": memory, **more}


def test_a_worker_of_models_that_ask_for_nothing_has_a_core() -> None:
    assert need_of(graph(model("a"), model("b")).checked) == Need(cpu=1.0)


def test_cores_are_shared_and_memory_and_accelerators_add_up() -> None:
    models = (
        model("a", resources=asks(GB, cpu=4, accelerator=0.5)),
        model("b", resources=asks(2 * GB, cpu=2), replicas=2),
    )
    assert need_of(graph(*models).checked) == Need(4.0, 5 * GB, 0.5)
    apart = model("c", resources=asks(GB, cpu=2), replicas=3, placement="process")
    assert need_of(graph(*models, apart).checked) == Need(10.0, 8 * GB, 0.5)
    assert said(need_of(graph(*models).checked)) == "4 cores, 4,768 MiB, 0.5 accelerator"


def test_a_model_on_an_accelerator_that_asks_for_none_has_one() -> None:
    assert need_of(graph(model("a", device="cuda"), model("b", device="cuda:1")).checked).accelerator == 1


def test_of_models_that_share_places_the_largest_count() -> None:
    models = [model(f"m{each}", resources=asks(each * GB)) for each in range(1, 6)]
    assert need_of(graph(*models, max_loaded=2).checked).memory_bytes == 9 * GB
    named = ", ".join(f"m{each}: {{uri: '{MODEL}', resources: {{memory: {each}GB}}}}" for each in range(1, 6))
    pooled = mt.load(
        io.StringIO(
            f"{{motet: 1, name: g, inputs: {{image: 'float32[28,28]'}}, models: {{{named}}}, pool: {{memory: 7GB}},"
            " nodes: {all: {ensemble: [m1, m2, m3, m4, m5], inputs: [image], combine: average}},"
            " outputs: {p: all.probabilities}}"
        )
    )
    assert need_of(pooled.checked).memory_bytes == 7 * GB


def test_graphs_inside_count_and_a_model_of_two_nodes_once() -> None:
    image, shared = mt.input("image", "float32[28,28]"), model("a", resources=asks(GB))
    inner = mt.Graph("inner", outputs={"q": mt.model(shared, image).probabilities})
    twice = {"p": mt.model(shared, image).probabilities, "q": mt.model(inner, image).q}
    twice["r"] = mt.model(model("b", resources=asks(GB)), image).probabilities
    assert need_of(mt.Graph("g", outputs=twice).checked).memory_bytes == 2 * GB


def test_beam_is_given_hints() -> None:
    pytest.importorskip("apache_beam")
    from motet.engines.beam.hints import hints_of

    assert hints_of(Need(cpu=1.0)) == {}
    assert hints_of(Need(2.5, 3 * GB, 0.5)) == {"cpu_count": "3", "min_ram": "3000000000B", "accelerator": "count:1"}


def test_a_transform_of_beam_carries_them_and_those_of_its_user_win() -> None:
    asking = graph(model("a", resources=asks(GB, cpu=2, accelerator=1)))
    given = {"cpu_count": b"2", "min_ram_bytes": b"1000000000", "accelerator": b"count:1"}
    assert _hints(asking.as_ptransform()) == given
    assert _hints(graph(model("a")).as_ptransform()) == {}
    mine = asking.as_ptransform().with_resource_hints(accelerator="type:l4;count:2", min_ram="8GB")
    assert _hints(mine) == {**given, "accelerator": b"type:l4;count:2", "min_ram_bytes": b"8000000000"}


def test_the_engine_beam_gives_them_to_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    beam = pytest.importorskip("apache_beam")
    from motet.engines.engine import find_engine

    seen: list[Any] = []
    monkeypatch.setattr(beam.Pipeline, "run", lambda pipeline, **_: seen.append(pipeline) or _Done())
    list(find_engine("beam").map(_Asking(Need(2.0, GB)), [1]))  # type: ignore[attr-defined]
    proto = seen[0].to_runner_api()
    environments = [dict(each.resource_hints) for each in proto.components.environments.values()]
    found = [{urn.split(":")[2]: value for urn, value in each.items()} for each in environments if each]
    assert found == [{"cpu_count": b"2", "min_ram_bytes": b"1000000000"}]


def test_a_function_that_says_nothing_needs_a_core() -> None:
    assert needed(str) == Need(cpu=1.0)


class _Done:
    def wait_until_finish(self, *_: Any) -> None: ...


class _Asking:
    """Gives back what it is given."""

    def __init__(self, need: Need) -> None:
        self.need = need

    def __call__(self, item: Any) -> Any:
        return item


def _hints(transform: Any) -> dict[str, bytes]:
    """Those of the step that plays, in the job that a runner is given."""
    beam = pytest.importorskip("apache_beam")
    pipeline = beam.Pipeline()
    _ = pipeline | beam.Create([{"image": [[0.0] * 28] * 28}]) | transform
    components = pipeline.to_runner_api().components
    (step,) = (each for each in components.transforms.values() if each.unique_name.endswith("/Play"))
    hints = components.environments[step.environment_id].resource_hints
    return {urn.split(":")[2]: value for urn, value in hints.items()}
