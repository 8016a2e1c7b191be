"""Write docs/reference/, docs/images/ and src/motet/schemas/ anew, from docstrings, tables, readers, commands and imports.

pages() ──► text by path, relative to docs/ ──► main() writes them; tests/docs compares them

python docs/generate.py           writes
python docs/generate.py --check   says what differs, and exits with 1
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os.path import normpath
from pathlib import Path
from types import ModuleType
from typing import Any

import motet
from motet import errors, ops
from motet.engines.engine import ENGINES
from motet.engines.local.options import BulkOptions
from motet.engines.support import FEATURES
from motet.graph.fields import write_bytes
from motet.graph.section import KeySpec, Section, keys_of
from motet.graph.yaml import parse, read_graph
from motet.models import handler as handler_module
from motet.models import registry
from motet.nodes import COMBINERS

DOCS = Path(__file__).parent
FASHION = DOCS.parent / "examples" / "fashion"
DIFFERENTIAL = DOCS.parent / "tests" / "differential"
TRIED = DOCS.parent / "tests" / "helpers" / "engine_features.py"
NOTE = "<!-- Written by docs/generate.py; change the code's docstrings instead, then run make docs. -->\n"
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")
EXTRAS = {
    **{
        name: name
        for name in ("sklearn", "skops", "torch", "xgboost", "lightgbm", "jax", "keras", "huggingface", "beam")
    },
    **dict.fromkeys(("oip+http", "oip+https", "tfs+http", "tfs+https"), "remote"),
    **dict.fromkeys(("oip+grpc", "oip+grpcs", "tfs+grpc", "tfs+grpcs"), "grpc"),
    **dict.fromkeys(("openai+http", "openai+https"), "openai"),
}
_ITEM = re.compile(r"    (\*{0,2}[\w, .*]+): (.*)")


def pages() -> dict[str, str]:
    """What should stand in each generated file, by its path relative to docs/."""
    made = {
        "reference/api.md": _api(),
        "reference/ops.md": _ops(),
        "reference/handlers.md": _handlers(),
        "reference/combiners.md": _combiners(),
        "reference/errors.md": _errors(),
        "reference/cli.md": _commands(),
        "reference/engines.md": _engines(),
        "reference/serving.md": _serving(),
        "reference/training.md": _training(),
        "reference/workflows.md": _workflows(),
        "reference/programs.md": _programs(),
        "values.md": _values(),
        "engines.md": _tried(),
    }
    index = "\n".join(
        f"- [{path.removeprefix('reference/')}]({path.removeprefix('reference/')}): {what}"
        for path, what in _INDEX.items()
    )
    made["reference/README.md"] = f"{NOTE}\n# Reference\n\nWritten from the code.\n\n{index}\n"
    return {
        **made,
        "../src/motet/schemas/graph.json": SCHEMAS.written(SCHEMAS.graph()),
        "../src/motet/schemas/serve.json": SCHEMAS.written(SCHEMAS.serve()),
        "images/house.svg": _loaded(DOCS / "house.py").picture("motet"),
        "images/fashion.svg": _picture(_readme_graph()),
        "images/cascade.svg": _picture(motet.load(FASHION / "cascade.yaml")),
    }


def _loaded(path: Path) -> ModuleType:
    """A module that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCHEMAS = _loaded(DOCS / "schemas.py")
_INDEX = {
    "reference/api.md": "what `import motet as mt` gives",
    "reference/cli.md": "the commands and their options",
    "reference/ops.md": "ready-made functions for map nodes",
    "reference/combiners.md": "how an ensemble makes one answer of several",
    "reference/handlers.md": "kinds of model files and their options",
    "reference/errors.md": "the tree of errors",
    "reference/serving.md": "every key of `serve.yaml`",
    "reference/programs.md": "graphs on line inside other programs, and what tests use",
    "reference/training.md": "datasets, and functions that train on several workers",
    "reference/workflows.md": "what a running step knows of itself, what runs give back, and how two compare",
    "reference/engines.md": "which engine does what a graph can ask for",
}


def _page(title: str, lead: str, parts: Iterable[str]) -> str:
    return "\n\n".join([NOTE + f"\n# {title}", lead, *parts]).rstrip() + "\n"


def _api() -> str:
    lead = "Every public name, in order. `import motet as mt` imports none of the frameworks; each name is imported when it is first used."
    names = [
        name for name in motet.__all__ if name not in ("data", "errors", "ops", "ray", "serving", "testing", "train")
    ]
    parts = [_entry(name, getattr(motet, name), f"mt.{name}") for name in names]
    options = f"## Options of run\n\nKeywords of `Graph.run`.\n\n{markdown(_after_summary(BulkOptions))}"
    return _page("motet", lead, [*parts, *_of_module(motet.ray, "motet.ray"), options])


def _training() -> str:
    lead = "`mt.data` and `mt.train`: datasets, and functions that train on several workers."
    return _page("Training", lead, [*_of_module(motet.data, "mt.data"), *_of_module(motet.train, "mt.train")])


def _workflows() -> str:
    from motet.metrics_log import MetricSeries
    from motet.workflow.comparison import ComparedMetric, ComparedStep, RunComparison, compare, metrics
    from motet.workflow.options import StepResources
    from motet.workflow.play.run import Run
    from motet.workflow.play.state import StepState
    from motet.workflow.step import StepContext

    lead = "What `mt.current_step()`, a run and its steps have, and `mt.workflow.compare`. The guide is [workflows.md](../workflows.md)."
    given = (StepContext, StepResources, Run, StepState, MetricSeries, RunComparison, ComparedStep, ComparedMetric)
    functions = [_entry(each.__name__, each, f"mt.workflow.{each.__name__}") for each in (compare, metrics)]
    return _page("Workflows", lead, [*(_entry(each.__name__, each, each.__name__) for each in given), *functions])


def _programs() -> str:
    from motet.serving.process.application import Application
    from motet.serving.process.background import BackgroundServer

    lead = (
        "`mt.serving`, what it gives, and `mt.testing`. The guides are [programs.md](../programs.md) and "
        "[testing.md](../testing.md)."
    )
    given = [_entry(thing.__name__, thing, thing.__name__) for thing in (Application, BackgroundServer)]
    return _page(
        "Inside programs",
        lead,
        [*_of_module(motet.serving, "mt.serving"), *given, *_of_module(motet.testing, "mt.testing")],
    )


def _of_module(module: ModuleType, shown: str) -> list[str]:
    found = {name: getattr(module, name) for name in module.__all__}
    own = {name: thing for name, thing in found.items() if inspect.isfunction(thing) or inspect.isclass(thing)}
    return [_entry(name, thing, f"{shown}.{name}") for name, thing in own.items()]


def _after_summary(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[2].replace("Attributes:", "Args:", 1)


def _entry(name: str, thing: Any, shown: str) -> str:
    text = _described(f"## {name}", f"{shown}{_signature(thing)}", thing)
    if not inspect.isclass(thing) or issubclass(thing, Exception):
        return text
    return "\n\n".join([text, *_methods(name, thing)])


def _described(heading: str, shown: str, thing: Any) -> str:
    """A heading, how a thing is written, and what it does."""
    heading = heading.replace("__", r"\_\_")  # or it is bold
    return f"{heading}\n\n```text\n{shown}\n```\n\n{markdown(inspect.getdoc(thing) or '')}"


def _methods(name: str, cls: type) -> Iterable[str]:
    """The public methods and properties that a class defines itself, or in a part of it beside it in the facade."""
    parts = [each for each in cls.__mro__ if each is cls or each.__module__.startswith("motet.facade.")]
    for method, value in (pair for part in parts for pair in vars(part).items()):
        if isinstance(value, property) and not method.startswith("_") and value.__doc__:
            yield _described(f"### {name}.{method}", f"{name.lower()}.{method}", value)
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if inspect.isfunction(function) and (not method.startswith("_") or method == "__call__") and function.__doc__:
            of_class = isinstance(value, (classmethod, staticmethod))
            shown = f"mt.{name}" if of_class else name.lower()
            shown += "" if method == "__call__" else f".{method}"
            yield _described(f"### {name}.{method}", f"{shown}{_signature(function, method=True)}", function)


def _signature(thing: Any, *, method: bool = False) -> str:
    """Names and defaults; the docstring says the types."""
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return ""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    parameters = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    if method and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def markdown(doc: str) -> str:
    """A docstring as Markdown: its sections as lists, its examples as blocks."""
    lines: list[str] = []
    section = ""
    for paragraph in doc.split("\n\n"):
        heading, _, rest = paragraph.partition("\n")
        if heading.rstrip(":") in SECTIONS and heading.endswith(":"):
            section = heading.rstrip(":")
            lines += [f"**{section}**", "", *_section(rest)]
        elif paragraph.lstrip().startswith(">>>"):
            lines += ["```pycon", paragraph, "```"]
        elif paragraph.startswith("    "):
            lines += ["```text", inspect.cleandoc(" \n" + paragraph), "```"]
        else:
            lines += [_flowing(paragraph)]
        lines.append("")
    return "\n".join(lines).rstrip()


def _flowing(paragraph: str) -> str:
    """A paragraph, with what is set in behind it kept as a block."""
    head, indented = [], []
    for line in paragraph.split("\n"):
        (indented if line.startswith("    ") else head).append(line)
    if not indented:
        return "\n".join(head)
    return "\n".join([*head, "", "```text", *(line[4:] for line in indented), "```"])


def _section(text: str) -> list[str]:
    """The lines of a section: `name: what` as a list, anything else as a paragraph."""
    items: list[str] = []
    for line in text.split("\n"):
        match = _ITEM.fullmatch(line)
        if match is not None and not line.startswith("     "):
            items.append(f"- `{match[1]}`: {match[2]}")
        elif items:
            items.append(f"  {line.strip()}" if items[0].startswith("- ") else line.strip())
        else:
            items.append(line.strip())
    return items


def _ops() -> str:
    lead = (
        "Functions for map nodes. Each works on a whole batch and treats every row alone. In YAML they are named "
        "`motet.ops.MODULE.FUNCTION`, with keywords under `with`; each declares its types, so a graph is checked before rows flow."
    )
    return _page(
        "Ready-made functions", lead, [part for name in ops.__all__ for part in _module(name, getattr(ops, name))]
    )


def _module(name: str, module: ModuleType) -> Iterable[str]:
    yield f"## motet.ops.{name}\n\n{markdown(inspect.getdoc(module) or '')}"
    for function in module.__all__:
        found = getattr(module, function)
        if inspect.isfunction(found):
            yield _described(f"### {name}.{function}", f"{function}{_signature(found)}", found)


def _combiners() -> str:
    lead = "What `combine:` of an ensemble may name. Each works on a row alone, output by output, and adds in the order of the members."
    parts = [f"## {name}\n\n{_combiner(name, combiner)}" for name, combiner in COMBINERS.items()]
    return _page("Combiners", lead, parts)


def _combiner(name: str, combiner: object) -> str:
    what = {"max": "The largest answer, place by place.", "median": "The median of the answers, place by place."}
    return what.get(name) or markdown(inspect.getdoc(type(combiner)) or "")


def _handlers() -> str:
    lead = (
        "Kinds of models, by the scheme or the suffix of their URI. *Runs code*: such files are not loaded from remote URIs "
        "without `unpickle: allow`. *Same bits*: a row's answer does not depend on what shares its call."
    )
    names = list(registry._CLASSES)
    rows = [
        "| scheme | suffixes | runs code | same bits | extra |",
        "|---|---|---|---|---|",
        *(_handler_row(name) for name in names),
    ]
    parts = ["\n".join(rows), *(_handler_text(name) for name in names), _protocol()]
    return _page("Handlers", lead, parts)


def _handler_row(name: str) -> str:
    found = registry.handler_by_name(name)
    suffixes = ", ".join(f"`{suffix}`" for suffix in found.suffixes) or "none"
    extra = f"`{EXTRAS[name]}`" if name in EXTRAS else "none"
    safe = ", ".join(f"`{suffix}`" for suffix in getattr(found, "safe_suffixes", ()))
    runs_code = f"yes, but not {safe}" if safe else _yes(found.runs_code)
    return f"| `{name}:` | {suffixes} | {runs_code} | {_yes(found.batch_invariant)} | {extra} |"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _handler_text(name: str) -> str:
    module = importlib.import_module(type(registry.handler_by_name(name)).__module__)
    return f"## {name}\n\n{markdown(inspect.getdoc(module) or '')}"


def _protocol() -> str:
    parts = [
        f"### {name}\n\n{markdown(inspect.getdoc(getattr(handler_module, name)) or '')}"
        for name in handler_module.__all__
    ]
    return "\n\n".join(["## Writing one\n\nSee [extending.md](../extending.md).", *parts])


def _errors() -> str:
    lead = "Every error is a `motet.MotetError`. It has `what`, `where` and `hint`; its class has the HTTP `status` that it answers with."
    tree = inspect.getdoc(errors) or ""
    classes = [getattr(errors, name) for name in errors.__all__]
    rows = [f"| `{cls.__name__}` | {cls.status} | {_summary(cls)} |" for cls in classes if _is_error(cls)]
    return _page("Errors", lead, [markdown(tree), "\n".join(["| error | status | when |", "|---|---|---|", *rows])])


def _is_error(cls: object) -> bool:
    return inspect.isclass(cls) and issubclass(cls, errors.MotetError)


def _summary(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")


def _commands() -> str:
    import click

    main: click.Command = importlib.import_module("motet.cli").cli
    context = main.make_context("motet", [], resilient_parsing=True, terminal_width=100)
    return _page(
        "The command motet", "What `motet --help` and `motet COMMAND --help` say.", list(_helps(main, context))
    )


def _helps(command: Any, context: Any) -> Iterator[str]:
    """What a command says of itself, and then what its own commands do."""
    import click

    yield f"```text\n{command.get_help(context)}\n```"
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        inner = command.get_command(context, name)
        assert inner is not None
        own = inner.make_context(name, [], parent=context, resilient_parsing=True)
        head, *rest = _helps(inner, own)
        yield f"## {own.command_path}\n\n{head}"
        yield from rest


def _engines() -> str:
    lead = (
        "What a graph can ask for, and which engine does it. A graph that asks for something an engine lacks is run all the "
        "same, since that changes only speed; `motet check` says so."
    )
    rows = ["| feature | meaning | " + " | ".join(ENGINES) + " |", "|---|---|" + "---|" * len(ENGINES)]
    for feature in FEATURES:
        cells = " | ".join(feature.lacks.get(engine, "yes") for engine in ENGINES)
        rows.append(f"| {feature.name} | {feature.meaning} | {cells} |")
    return _page("Engines", lead, ["\n".join(rows)])


def _tried() -> str:
    """The page of engines with its tables, which are what tests/engines play each way, put in anew."""
    tried = _loaded(TRIED)
    tables = {"ways": _ways(tried), "features": _features(tried), "gaps": _gaps(tried)}
    return _with_tables("engines.md", tables)


def _ways(tried: Any) -> Iterable[str]:
    yield "| | it is |"
    yield "|---|---|"
    yield from (f"| {way} | {what} |" for way, what in tried.WAYS.items())


def _features(tried: Any) -> Iterable[str]:
    """What each way does; a dash where that is not for it."""
    yield "| | " + " | ".join(tried.WAYS) + " |"
    yield "|---|" + "---|" * len(tried.WAYS)
    for kind, names in tried.FEATURES.items():
        yield f"| **{kind}** |" + " |" * len(tried.WAYS)
        for name in names:
            feature = f"{kind}: {name}"
            cells = [
                "yes" if tried.is_for(way, feature) else "no" if (way, feature) in tried.GAPS else "–"
                for way in tried.WAYS
            ]
            yield f"| {name} | {' | '.join(cells)} |"


def _gaps(tried: Any) -> Iterable[str]:
    yield "| way | what it does not | why |"
    yield "|---|---|---|"
    yield from (f"| {way} | {feature} | {why} |" for (way, feature), why in tried.GAPS.items())


def _values() -> str:
    """The page of values with its tables, which are those that tests/differential checks, put in anew."""
    cases, kept = _loaded(DIFFERENTIAL / "value_cases.py"), _loaded(DIFFERENTIAL / "arrow_values.py").kept_table()
    tables = {"stored": _stored(cases), "written": _written(cases), "forms": _forms(cases), "kept": _kept(kept)}
    return _with_tables("values.md", tables)


def _with_tables(page: str, tables: Mapping[str, Iterable[str]]) -> str:
    """A page whose tables are put in anew."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, rows in tables.items():
        begin, end = f"<!-- {name}: written by docs/generate.py -->\n", "<!-- end -->"
        before, _, rest = text.partition(begin)
        text = before + begin + "\n".join(rows) + "\n" + end + rest.partition(end)[2]
    return text


def _stored(cases: Any) -> Iterable[str]:
    """What becomes of all values of a stored type, by the declared one."""
    yield "| stored as | " + " | ".join(f"`{kind}`" for kind in cases.KINDS) + " |"
    yield "|---|" + "---|" * len(cases.KINDS)
    for stored, values in cases.STORED.items():
        cells = []
        for kind in cases.KINDS:
            found = {cases.outcome(value, stored, kind)[0] for value in values}
            cells.append("no" if cases.BY_TYPE in found else "yes" if found == {cases.TAKEN} else "if the same")
        yield f"| `{stored}` | {' | '.join(cells)} |"


def _written(cases: Any) -> Iterable[str]:
    """What becomes of single values that are written."""
    yield "| written | " + " | ".join(f"`{kind}`" for kind in cases.KINDS if kind not in ("bytes", "any")) + " |"
    yield "|---|" + "---|" * (len(cases.KINDS) - 2)
    for value in cases.SHOWN:
        found = [cases.outcome(value, None, kind) for kind in cases.KINDS if kind not in ("bytes", "any")]
        cells = [f"`{told!r}`" if what == cases.TAKEN else what for what, told in found]
        yield f"| `{'null' if value is None else value if isinstance(value, float) else repr(value)}` | {' | '.join(cells)} |"


def _forms(cases: Any) -> Iterable[str]:
    """How values of each type are written."""
    yield "| type | in Python | Parquet, Arrow | CSV | JSON Lines, `/predict` | `/v2` as JSON | `/v2` as bytes, gRPC |"
    yield "|---|---|---|---|---|---|---|"
    for kind, value, *texts in cases.FORMS:
        csv, rows, tensor = (f"`{text}`" if text is not None else "none" for text in texts)
        arrow, raw = cases.ARROW_FORMS[kind], cases.TENSOR_FORMS[kind]
        yield f"| `{kind}` | `{value!r}` | {arrow} | {csv} | {rows} | {tensor} | {raw} |"


def _kept(rows: Sequence[Mapping[str, str]]) -> Iterable[str]:
    """What becomes of columns that are only kept, by their type; times of one zone stand for those of others."""
    yield "| type | Parquet | Arrow | CSV | JSON Lines |"
    yield "|---|---|---|---|---|"
    for row in rows:
        if "tz=" not in row["type"] or "tz=UTC" in row["type"]:
            types = [
                each if each in ("refused", "left out") else f"`{each}`" for each in (row["parquet"], row["arrow"])
            ]
            yield f"| `{row['type']}` | {' | '.join(types)} | {row['csv'].replace('``', 'empty')} | {row['jsonl']} |"


def _serving() -> str:
    lead = (
        "What `serve.yaml`, or the key `serve:` of a graph's file, may say; options of `motet serve` go over it. Every key is "
        "optional unless its default is *needed*. Numbers of bytes may be written with a unit: `64MiB`. Relative paths begin "
        "at the file's folder. [serving.md](../serving.md) is the guide."
    )
    from motet.serving.config.admission import CLASSES
    from motet.serving.config.server import ServeConfig

    classes = "; ".join(f"`{name}`: {_class_limits(each)}" for name, each in CLASSES.items())
    said = {**_SAID, "admission.classes.NAME": f"Without a word: {classes}."}
    parts = [_keys(place, said.get(place, ""), cls) for place, cls in _sections("", ServeConfig)]
    return _page("Configuration of a server", lead, parts)


_SAID = {
    "sinks": "A list, or one alone; a text is its `to`.",
    "cache": "Or an amount of memory alone.",
    "observability.access_log": "Or its `file` alone.",
    "observability.trace": "Or `true`.",
}
"""What is said of a part of the configuration."""
_DEFAULTS = {
    "admission.folder": "in the server's own",
    "admission.classes": "those that there always are",
    "admission.classes.NAME.rate": "no bound",
    "admission.classes.NAME.total.rate": "no bound",
    "observability.trace.endpoint": "what the environment says",
    "sinks.batch_rows": "`2000`, Parquet `65536`",
    "sinks.batch_s": "`0.2`, Parquet `60`",
    "sinks.buffer_rows": "`50000`, Parquet `131072`",
    "sinks.table": "`predictions`, or `member_predictions`",
    "sinks.format": "told by `to`",
    "sinks.name": "of the record and the place",
}
"""Defaults that depend on others."""


def _sections(place: str, cls: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """Each part of the configuration: its place and its class."""
    yield place, cls
    for key, each in keys_of(cls).items():
        if each.kind.section is not None:
            name = ".NAME" if each.kind.form.get("type") == "object" else ""
            yield from _sections(f"{place}.{key}{name}".lstrip("."), each.kind.section)


def _class_limits(limits: Any) -> str:
    said = [f"{limits.concurrent} at once and {limits.queue} waiting"] if limits.concurrent else []
    return ", ".join([*said, *map(str, limits.rates)]) or "no bound"


def _keys(place: str, said: str, cls: type[Section]) -> str:
    """A part of the configuration as a table: key, default, meaning."""
    rows = []
    told = SCHEMAS.told(cls)
    for key, each in keys_of(cls).items():
        default = _DEFAULTS.get(f"{place}.{key}") or _default(each)
        rows.append(f"| `{key}` | {default} | {told[each.field].replace('|', chr(92) + '|')} |")
    heading = f"## {place}" if place else "## At the top"
    parts = [heading, *([said] if said else []), "\n".join(["| key | default | it is |", "|---|---|---|", *rows])]
    return "\n\n".join(parts)


def _default(each: KeySpec) -> str:
    """A default as people write it."""
    value = each.default
    if value is dataclasses.MISSING:
        return "*needed*"
    if isinstance(value, Section):
        return "see below"
    if value is None or value in ((), ""):
        return "none"
    if each.field.endswith("_bytes"):
        return f"`{write_bytes(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else format(value, 'g') if isinstance(value, float) else value}`"


def _readme_graph() -> motet.Graph:
    """The graph that the README shows in YAML."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    block = text.partition("```yaml\n")[2].partition("```")[0]
    return read_graph(parse(block), motet.Graph, folder=str(FASHION))


def _picture(graph: motet.Graph) -> str:
    return graph.draw("svg").rstrip() + "\n"


def differences(made: Mapping[str, str], folder: Path = DOCS) -> list[str]:
    """The generated files that are not as they should be, and those that should not be there."""
    found = [path for path, text in made.items() if not _same(folder / path, text)]
    extra = {str(path.relative_to(folder)) for path in (folder / "reference").glob("*.md")} - set(made)
    return [*found, *sorted(extra)]


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def main(arguments: list[str], say: Callable[[str], Any] = sys.stdout.write) -> int:
    """Write, or with `--check` compare; the exit code."""
    made = pages()
    found = differences(made)
    if "--check" in arguments:
        say("".join(f"{normpath(f'docs/{path}')} is not up to date; run make docs\n" for path in found))
        return 1 if found else 0
    for path in found:
        target = DOCS / path
        if path in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(made[path], encoding="utf-8")
        else:
            target.unlink()
        say(f"{normpath(f'docs/{path}')}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
