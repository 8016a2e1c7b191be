"""The benchmark of experiments plays a few, and says what came of them."""

from benchmarks.experiments import main
from click.testing import CliRunner


def test_a_few_experiments_are_played() -> None:
    sizes = ["--runs", "2", "--units", "200", "--more-units", "300", "--rounds", "1"]
    done = CliRunner().invoke(main, sizes, catch_exceptions=False)
    lines = done.output.splitlines()
    assert lines[0].split()[:2] == ["experiments", "runs"]
    assert [line.split()[:2] for line in lines[1:3]] == [["same", "2"], ["better", "1"]]
    assert "times as long as without" in lines[3]
