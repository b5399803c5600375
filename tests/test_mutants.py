"""The tables of mutants fit the sources; the runner tells killed from surviving ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutants import table
from mutants.runner import ROOT, run_mutant, run_unmutated
from mutants.table import Mutant, read_tables

PROGRAM = "def larger(one, other):\n    return one if one > other else other\n"
TEST = "from program import larger\n\n\ndef test_larger():\n    assert larger(2, 1) == 2\n"


def test_every_mutant_fits_the_sources() -> None:
    mutants = read_tables(ROOT)
    assert len(mutants) >= 60
    for mutant in mutants:
        assert mutant.old != mutant.new, mutant.name


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "program.py").write_text(PROGRAM)
    (tmp_path / "test_program.py").write_text(TEST)
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "killed"),
    [("one >", "one <", True), ("one >", "one >=", False), ("def larger", "def smaller", True)],
)
def test_a_mutant_is_killed_by_a_test_that_notices(
    tree: Path, old: str, new: str, killed: bool
) -> None:
    tests = ("test_program.py",)
    assert run_unmutated(tree, tests) is None
    result = run_mutant(tree, Mutant("programs", "mutated", "harness/program.py", old, new, tests))
    assert result.killed == killed
    assert (tree / "harness" / "program.py").read_text() == PROGRAM


def test_a_table_that_fell_behind_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.toml").write_text(
        'file = "README.md"\ntests = ["tests/test_mutants.py"]\n'
        '[[mutants]]\nname = "gone"\nold = "no such text"\nnew = ""\n'
    )
    monkeypatch.setattr(table, "TABLES", tmp_path)
    with pytest.raises(SystemExit, match=r"old.toml, 'gone': its text stands 0 times in README.md"):
        read_tables(ROOT)
    with pytest.raises(SystemExit, match="no table older; there are old"):
        read_tables(ROOT, ["older"])
