"""Mistakes, each on a line that says so."""

import motet as mt

graph = mt.load("g.yaml")


@mt.step(cache=True)
def train(kind: str, epochs: int = 3) -> float:
    return len(kind) * epochs


@mt.workflow
def flow(epochs: int = 3) -> float:
    train(7)  # error
    train("a", epoch=3)  # error
    return train("a", epochs)


async def later() -> str:
    answers = await graph.acall({}, timeout=1)
    _, failures = await graph.acall({}, failures="return")
    await graph.acall({}, failures="ignore")  # error
    failures[0].why  # error
    return answers  # error


graph({}, failures="ignore")  # error
graph({})[0]  # error
graph({}, failures="return")["label"]  # error
graph({}).label  # error
graph({}, timeout="1")  # error
graph.run("in", "out", nonsense=1)  # error
graph.run("in", "out", batch_rows="many")  # error
graph.run("in", "out", failures="return")  # error
graph.run("in", "out").row  # error
graph.run("in", failures="ignore")  # error
graph.serve(prot=8000)  # error
graph.serve(block=False).uri  # error
graph.serve(port="8000")  # error
mt.serving.asgi(graph, port=8000)  # error
mt.serving.asgi(7)  # error
mt.serving.start(graph, block=False)  # error
mt.ops.image.scal  # error
mt.ops.pictures  # error
mt.Model("a.onnx", input={"x": "float32"})  # error
mt.input("x")  # error
mt.cascade([mt.Model("a.onnx")], mt.input("x", "float32"), confidense=0.9)  # error
mt.Graph("g")  # error
mt.Graph("g", {}, foldr="x")  # error
graph.predict(7)  # error
graph.explain({}).output  # error
graph.name.foo  # error
flow(epoch=3)  # error
flow(epochs="3")  # error
flow().rum()  # error
train("a").upper()  # error
mt.nothing  # error
