"""The commands, as scripts call them: exit codes, messages, files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

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


def test_check_says_what_a_graph_is(graph: str) -> None:
    result = motet("check", graph)
    assert result.exit_code == 0
    assert "fashion: no mistakes" in result.output
    assert "image  uint8[28,28]" in result.output
    assert "sure.probabilities: float32[10]" in result.output


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


def test_the_process_exits_with_the_same_codes(graph: str, tmp_path: Path) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "motet.cli", *args], capture_output=True, text=True, check=False, timeout=60
        )

    source = write_input(tmp_path / "in.parquet", 5, bad=(3,))
    assert run("check", graph).returncode == 0
    assert run("check", graph + "x").returncode == 2
    done = run("run", graph, "--input", source, "--output", str(tmp_path / "out.parquet"))
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


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
