"""The commands, as scripts call them: exit codes, messages, files."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from motet import __version__
from motet.cli import cli

MODELS = Path(__file__).parents[2] / "examples" / "fashion" / "models"
GRAPH = """
motet: 1
name: fashion
inputs: {image: "uint8[28,28]"}
models:
  linear: {uri: %(models)s/linear.onnx}
  cnn: {uri: %(models)s/cnn.onnx}
nodes:
  pixels: {map: motet.ops.image.scale, inputs: [image], with: {by: 255}}
  sure: {cascade: [linear, cnn], until: {confidence: 0.9}, inputs: [pixels]}
  top: {map: motet.ops.scores.top1, inputs: [sure.probabilities]}
outputs: {label: top.index, score: top.score}
"""

INNER = """
motet: 1
name: outer
inputs: {image: "float32[28,28]"}
models:
  linear: {uri: %(models)s/linear.onnx}
  cnn: {uri: %(models)s/cnn.onnx}
graphs:
  inner:
    inputs: {x: "float32[28,28]", spare: {type: float64, default: 0}}
    nodes: {scored: {model: linear, inputs: [x]}}
    outputs: {probabilities: scored.probabilities}
nodes:
  none: {map: motet.ops.columns.constant, inputs: [image], with: {value: 0.0}}
  out: {model: inner, inputs: {x: image, spare: none}}
outputs: {probabilities: out.probabilities}
"""
FUNCTIONS = """
import os, signal
import numpy as np

def same(x):
    return x

def interrupted(x):
    if not os.environ.get("GO_ON"):
        os.kill(os.getpid(), signal.SIGINT)
    return x

def nan(x):
    return np.full(len(x), np.nan)

def blobs(x):
    made = np.empty((len(x), 2), dtype=object)
    made[:] = b"a"
    return made
"""


@pytest.fixture
def graph(tmp_path: Path) -> str:
    path = tmp_path / "fashion.yaml"
    path.write_text(GRAPH % {"models": MODELS})
    return str(path)


def images(rows: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, 28, 28), dtype=np.uint8)


def write_input(path: Path, rows: int, bad: tuple[int, ...] = ()) -> str:
    data = [row.tobytes() for row in images(rows)]
    for row in bad:
        data[row] = data[row][:-1]
    pq.write_table(pa.table({"id": np.arange(rows) + 100, "image": pa.array(data, pa.binary())}), path)
    return str(path)


def motet(*args: str) -> Result:
    return CliRunner().invoke(cli, list(args))


def process(*args: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "motet.cli", *args], capture_output=True, text=True, check=False, timeout=60, **settings
    )


def numbers(tmp_path: Path, function: str, kind: str = "float64", rows: int = 5) -> list[str]:
    """The arguments for a graph of one function over a few numbers."""
    (tmp_path / "functions_of_cli.py").write_text(FUNCTIONS)
    (tmp_path / "numbers.csv").write_text("x\n" + "".join(f"{row}.5\n" for row in range(rows)))
    node = f"y: {{map: functions_of_cli.{function}, inputs: [x], outputs: '{kind}'}}"
    path = tmp_path / "numbers.yaml"
    path.write_text(f"motet: 1\ninputs: {{x: float64}}\nnodes:\n  {node}\noutputs: {{y: y}}\n")
    return [str(path), "--input", str(tmp_path / "numbers.csv")]


def test_check_says_what_a_graph_is(graph: str) -> None:
    result = motet("check", graph)
    assert result.exit_code == 0
    assert "fashion: no mistakes" in result.output
    assert "image  uint8[28,28]" in result.output
    assert "sure.probabilities: float32[10]" in result.output
    assert "score  float32 from top.score" in result.output


def test_check_names_handler_version_and_signature_of_each_model(graph: str) -> None:
    version = hashlib.sha256((MODELS / "linear.onnx").read_bytes()).hexdigest()[:12]
    output = motet("check", graph).output
    assert f"linear  onnx, version {version}, {MODELS}/linear.onnx\n" in output
    assert "          (image: float32[28,28]) -> (probabilities: float32[10])" in output


def test_a_model_that_only_a_graph_inside_uses_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "outer.yaml"
    path.write_text(INNER % {"models": MODELS})
    output = motet("check", str(path)).output
    assert "inner/scored  model (x) -> scored.probabilities: float32[10]" in output
    assert "warning: no output needs the models cnn\n" in output
    assert "warning: no output needs the inputs inner/spare" in output


def test_check_warns_of_parts_that_no_output_needs(graph: str) -> None:
    Path(graph).write_text(
        Path(graph).read_text().replace("[linear, cnn]", "[linear, linear2]").replace("cnn:", "linear2:")
    )
    text = Path(graph).read_text().replace("models:\n", f"models:\n  spare: {{uri: {MODELS}/mlp.onnx}}\n")
    Path(graph).write_text(text)
    assert "warning: no output needs the models spare" in motet("check", graph).output


def test_a_wrong_graph_exits_with_2_and_the_mistake(graph: str) -> None:
    Path(graph).write_text(Path(graph).read_text().replace("inputs: [pixels]}", "inputs: [pixel]}"))
    result = motet("check", graph)
    assert result.exit_code == 2
    assert "unknown column 'pixel'; did you mean 'pixels'?" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_model_file_is_a_wrong_graph(graph: str) -> None:
    Path(graph).write_text(Path(graph).read_text().replace("cnn.onnx", "cmm.onnx"))
    result = motet("check", graph)
    assert result.exit_code == 2
    assert "cmm.onnx" in result.stderr


def test_a_graph_that_is_not_there_exits_with_2(tmp_path: Path) -> None:
    result = motet("check", str(tmp_path / "none.yaml"))
    assert result.exit_code == 2
    assert "there is no file" in result.stderr


def test_an_unknown_command_names_the_nearest() -> None:
    result = motet("chekc")
    assert result.exit_code == 2
    assert "did you mean 'check'" in result.stderr


@pytest.mark.parametrize(("form", "start"), [("text", "fashion\n"), ("mermaid", "flowchart LR"), ("svg", "<svg ")])
def test_draw_prints_each_form_or_writes_it(graph: str, tmp_path: Path, form: str, start: str) -> None:
    printed = motet("draw", graph, "--format", form)
    assert printed.exit_code == 0
    assert printed.output.startswith(start)
    assert motet("draw", graph, "--format", form, "-o", str(tmp_path / "out")).exit_code == 0
    assert (tmp_path / "out").read_text().strip() == printed.output.strip()
    assert motet("draw", graph, "--format", form, "-o", f"{tmp_path.as_uri()}/a%20b").exit_code == 0
    assert (tmp_path / "a b").read_text() == (tmp_path / "out").read_text()


@pytest.mark.parametrize(("name", "start"), [("a.svg", "<svg "), ("a.mmd", "flowchart LR"), ("a.txt", "fashion\n")])
def test_draw_writes_what_the_suffix_says(graph: str, tmp_path: Path, name: str, start: str) -> None:
    assert motet("draw", graph, "-o", str(tmp_path / name)).exit_code == 0
    assert (tmp_path / name).read_text().startswith(start)


def test_draw_refuses_a_suffix_that_it_does_not_draw(graph: str, tmp_path: Path) -> None:
    result = motet("draw", graph, "-o", "a.png")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: -o: cannot tell by its suffix how 'a.png' is to be drawn; known: .svg, .mmd, .mermaid, .txt\n"
        "  hint: give it one of these, or say --format\n",
    )
    assert motet("draw", graph, "-o", str(tmp_path / "a.png"), "--format", "text").exit_code == 0


def test_run_writes_the_answers_beside_the_plain_columns(graph: str, tmp_path: Path) -> None:
    source, output = write_input(tmp_path / "in.parquet", 50), tmp_path / "out.parquet"
    result = motet("run", graph, "--input", source, "--output", str(output), "--report", str(tmp_path / "report.json"))
    assert result.exit_code == 0, result.stderr
    table = pq.read_table(output)
    assert table.column_names == ["id", "label", "score"]
    assert table["id"].to_pylist() == list(range(100, 150))
    assert not (tmp_path / "out.parquet.failed.parquet").exists()
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["rows"], report["answered"], report["failed"]) == (50, 50, 0)
    assert [node["name"] for node in report["nodes"]] == ["pixels", "sure", "top"]
    assert "50 rows, 50 answered, 0 failed" in result.stdout


def test_quiet_prints_nothing(graph: str, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.parquet", 5)
    result = motet("run", graph, "--input", source, "--output", str(tmp_path / "out.csv"), "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_failed_rows_exit_with_3_and_can_be_replayed(graph: str, tmp_path: Path) -> None:
    source, output = write_input(tmp_path / "in.parquet", 40, bad=(7, 9)), tmp_path / "out.parquet"
    result = motet("run", graph, "--input", source, "--output", str(output))
    assert result.exit_code == 3
    assert "2 of 40 rows failed" in result.stderr
    assert "row 7: node input: InputError: column 'image' has 783 bytes, uint8[28,28] needs 784" in result.stderr
    failed = pq.read_table(f"{output}.failed.parquet").to_pylist()
    assert [row["row"] for row in failed] == [7, 9]
    assert len(pq.read_table(output)) == 38
    mended = write_input(tmp_path / "in.parquet", 40)
    again = motet(
        "run",
        graph,
        "--input",
        mended,
        "--output",
        str(tmp_path / "again.parquet"),
        "--only-failed",
        f"{output}.failed.parquet",
        "--any-input",
    )
    assert again.exit_code == 0, again.stderr
    assert pq.read_table(tmp_path / "again.parquet")["id"].to_pylist() == [107, 109]


def test_too_many_failures_end_the_run_with_1(graph: str, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.parquet", 40, bad=(1, 2, 3))
    args = ("run", graph, "--input", source, "--output", str(tmp_path / "out.parquet"))
    assert motet(*args, "--max-failures", "2").exit_code == 1
    assert motet(*args, "--overwrite", "--max-failures", "3").exit_code == 3
    assert motet(*args, "--overwrite", "--max-failures", "5%").exit_code == 1
    wrong = motet(*args, "--overwrite", "--max-failures", "many")
    assert wrong.exit_code == 2
    assert "'many' is no number of failures" in wrong.stderr


def test_an_output_that_is_there_is_refused_unless_told(graph: str, tmp_path: Path) -> None:
    args = ("run", graph, "--input", write_input(tmp_path / "in.parquet", 5), "--output", str(tmp_path / "out.parquet"))
    assert motet(*args).exit_code == 0
    refused = motet(*args)
    assert refused.exit_code == 2
    assert "is there already" in refused.stderr
    assert motet(*args, "--resume").exit_code == 0
    assert motet(*args, "--overwrite").exit_code == 0
    assert motet(*args, "--overwrite", "--resume").exit_code == 2


def test_keep_and_drop_choose_columns(graph: str, tmp_path: Path) -> None:
    source, output = write_input(tmp_path / "in.parquet", 5), tmp_path / "out.parquet"
    assert motet("run", graph, "--input", source, "--output", str(output), "--keep", "id,image").exit_code == 0
    assert pq.read_table(output).column_names == ["id", "image", "label", "score"]
    assert motet("run", graph, "--input", source, "--output", str(output), "--drop", "id", "--overwrite").exit_code == 0
    assert pq.read_table(output).column_names == ["label", "score"]
    unknown = motet("run", graph, "--input", source, "--output", str(output), "--drop", "idd", "--overwrite")
    assert unknown.exit_code == 2
    assert "unknown column 'idd'; did you mean 'id'?" in unknown.stderr


def test_an_unknown_engine_is_a_wrong_argument(graph: str, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.parquet", 5)
    result = motet("run", graph, "--input", source, "--output", str(tmp_path / "o.parquet"), "--engine", "lokal")
    assert result.exit_code == 2
    assert "unknown engine 'lokal'; did you mean 'local'?" in result.stderr


def test_explain_says_who_answered(graph: str, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.parquet", 5, bad=(3,))
    told = motet("explain", graph, "--input", source, "--row", "2", "--json")
    assert told.exit_code == 0, told.stderr
    answer = json.loads(told.output)
    assert [call["uses"] for call in answer["calls"]] in (["linear"], ["linear", "cnn"])
    assert answer["members"]["sure.member"] == answer["calls"][-1]["uses"]
    assert len(answer["calls"][0]["version"]) == 12
    assert "calls, in order" in motet("explain", graph, "--input", source, "--row", "2").output
    failing = motet("explain", graph, "--input", source, "--row", "3")
    assert failing.exit_code == 3
    assert "has 783 bytes" in failing.output
    beyond = motet("explain", graph, "--input", source, "--row", "5")
    assert beyond.exit_code == 2
    assert "there is no row 5" in beyond.stderr


def test_explain_says_that_there_is_no_such_row_where_the_rows_are_not_counted(tmp_path: Path) -> None:
    beyond = motet("explain", *numbers(tmp_path, "same"), "--row", "99")
    assert beyond.exit_code == 2
    assert "numbers.csv: row 99 is past the end" in beyond.stderr


@pytest.mark.parametrize(
    ("function", "kind", "value"), [("nan", "float64", None), ("blobs", "bytes[2]", ["YQ==", "YQ=="])]
)
def test_explain_gives_json_of_values_that_json_lacks(tmp_path: Path, function: str, kind: str, value: Any) -> None:
    told = motet("explain", *numbers(tmp_path, function, kind), "--row", "1", "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout, parse_constant=pytest.fail)["outputs"] == {"y": value}


def test_the_report_takes_the_place_of_no_data(graph: str, tmp_path: Path) -> None:
    source, output = write_input(tmp_path / "in.parquet", 5), str(tmp_path / "out.parquet")
    args = ("run", graph, "--input", source, "--output", output, "--report")
    for report in (source, output):
        wrong = motet(*args, report)
        assert wrong.exit_code == 2
        assert "--report:" in wrong.stderr
        assert "is an input or an output of the run" in wrong.stderr
    inside = motet(*args, f"{source}/report.json")
    assert inside.exit_code == 2
    assert "cannot be written" in inside.stderr
    assert not Path(output).exists()
    assert motet(*args, str(tmp_path / "new" / "report.json")).exit_code == 0
    assert (tmp_path / "new" / "report.json").exists()


def test_an_input_is_never_written_over(graph: str, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    source = write_input(folder / "part-00000.parquet", 5)
    for given, output in ((source, source), (str(folder), f"{folder}/"), (f"{folder}/*.parquet", source)):
        refused = motet("run", graph, "--input", given, "--output", output, "--overwrite")
        assert refused.exit_code == 2
        assert f"{output}: the run reads {source}, and would write over it" in refused.stderr
    assert pq.read_table(source).column_names == ["id", "image"]


def test_failures_do_not_go_over_the_answers(graph: str, tmp_path: Path) -> None:
    source, output = write_input(tmp_path / "in.parquet", 5, bad=(1,)), str(tmp_path / "out.parquet")
    refused = motet("run", graph, "--input", source, "--output", output, "--failed", output)
    assert refused.exit_code == 2
    assert "is the output as well" in refused.stderr


def test_what_the_system_refuses_is_said_in_one_line(graph: str, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.parquet", 5)
    result = motet("run", graph, "--input", source, "--output", f"{source}/out.parquet")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {source}/out.parquet.unfinished: cannot be written: Not a directory")


def test_a_traceback_is_shown_where_it_is_asked_for(graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" not in motet("check", f"{graph}x").stderr
    monkeypatch.setenv("MOTET_TRACEBACK", "1")
    shown = motet("check", f"{graph}x")
    assert shown.exit_code == 2
    assert "Traceback" in shown.stderr
    assert "error: there is no file" in shown.stderr


def test_a_mistake_of_ours_shows_a_traceback(graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.cli.check.summary", lambda *args: 1 / 0)
    result = motet("check", graph)
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


def test_the_process_exits_with_the_same_codes(graph: str, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.parquet", 5, bad=(3,))
    assert process("check", graph).returncode == 0
    assert process("check", graph + "x").returncode == 2
    done = process("run", graph, "--input", source, "--output", str(tmp_path / "out.parquet"))
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert process("run", graph).returncode == 2


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(tmp_path: Path) -> None:
    args = ["run", *numbers(tmp_path, "interrupted"), "--output", str(tmp_path / "out.csv")]
    stopped = process(*args)
    assert (stopped.returncode, stopped.stderr) == (130, "stopped; --resume goes on with what is finished\n")
    assert not (tmp_path / "out.csv").exists()
    assert process(*args, "--resume", env={**os.environ, "GO_ON": "1"}).returncode == 0
    assert (tmp_path / "out.csv").read_text().count("\n") == 6


def test_ctrl_c_counts_where_a_library_makes_another_error_of_it(monkeypatch: pytest.MonkeyPatch, graph: str) -> None:
    def summary(*args: Any) -> list[str]:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None
        return []

    monkeypatch.setattr("motet.cli.check.summary", summary)
    result = motet("check", graph)
    assert (result.exit_code, result.stderr) == (130, "stopped\n")


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_shown_on_a_terminal_alone(graph: str, tmp_path: Path, quiet: bool) -> None:
    source = write_input(tmp_path / "in.parquet", 70)
    args = ["run", graph, "--input", source, "--output", str(tmp_path / "out.parquet"), *["--quiet"][:quiet]]
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        done = subprocess.run(
            [sys.executable, "-m", "motet.cli", *args],
            stdout=subprocess.PIPE, stderr=theirs, check=True, timeout=60, env={**os.environ, "TERM": "xterm"},
        )  # fmt: skip
        os.write(theirs, b"end")
        os.close(theirs)
        shown = terminal.read(100_000)
    assert (b"rows" in shown) is not quiet
    assert (b"70 rows, 70 answered" in done.stdout) is not quiet


def test_motet_alone_shows_help_and_says_its_version() -> None:
    alone = motet()
    assert alone.exit_code == 0
    assert "Usage: " in alone.stdout
    assert "Say how the answer of one row came about." in alone.stdout
    assert "130  stopped by Ctrl-C" in alone.stdout
    assert motet("--version").stdout == f"motet {__version__}\n"


@pytest.mark.parametrize("name", ["check", "draw", "run", "explain"])
def test_help_lists_exit_codes(name: str) -> None:
    text = motet(name, "--help").stdout
    assert "Exit codes:\n  0 " in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert ("batch-sizes.json" in text) == (name == "run")


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; import motet.cli; print([m for m in ('numpy', 'pyarrow', 'onnxruntime', 'rich', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_short_run_does_not_import_pandas(graph: str, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.parquet", 5)
    code = (
        "import sys; sys.argv = sys.argv[1:]; from motet.cli import cli; cli.main(standalone_mode=False); "
        "print('pandas' in sys.modules, 'rich' in sys.modules)"
    )
    args = ["motet", "run", graph, "--input", source, "--output", str(tmp_path / "out.parquet"), "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False False"
