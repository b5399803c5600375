"""The tables of mutants fit the sources; the runner tells killed from surviving ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mutants import table
from mutants.record import Killers, Progress
from mutants.runner import ROOT, Result, Unmutated, run_mutant, run_unmutated
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
    killers = ("test_program.py::test_larger", "test_program.py")
    assert result.killer in killers if killed else result.killer is None
    assert (tree / "harness" / "program.py").read_text() == PROGRAM


def test_a_mutant_that_interrupts_is_killed_by_no_test_of_an_earlier_one(tree: Path) -> None:
    tests = ("test_program.py",)
    place = "programs", "mutated", "harness/program.py"
    assert run_mutant(tree, Mutant(*place, "one >", "one <", tests)).killer
    interrupts = Mutant(*place, "return", "raise KeyboardInterrupt\n    return", tests)
    result = run_mutant(tree, interrupts)
    assert result.killed
    assert result.killer is None


def test_tests_that_fail_without_a_mutant_tell_nothing(tree: Path) -> None:
    unmutated = Unmutated(tree)
    assert unmutated.limit(("test_program.py",)) > 0
    (tree / "test_program.py").write_text(TEST.replace("== 2", "== 1"))
    with pytest.raises(SystemExit, match=r"test_program\.py::test_larger fails without any"):
        unmutated.limit(("test_program.py::test_larger",))


def test_what_killed_a_mutant_is_known_to_the_next_run(tmp_path: Path) -> None:
    killed, lived = (Mutant("programs", n, "p.py", "a", "b", ("t.py",)) for n in ("one", "two"))
    path = tmp_path / "killed_by.json"
    killers = Killers(path)
    killers.note(Result(killed, 1, 0.5, "t.py::test_of[a b]"))
    killers.note(Result(lived, 0, 0.5))
    assert Killers(path).of(killed) == "t.py::test_of[a b]"
    assert Killers(path).of(lived) is None
    # Only a test among its own.
    assert Killers(path).of(replace(killed, tests=("other.py",))) is None
    assert Killers(path).of(replace(killed, tests=("t.py::test_of",))) == "t.py::test_of[a b]"
    assert Killers(path).of(replace(killed, tests=("t.py::test_of_all",))) is None
    # It lost its grip.
    killers.note(Result(killed, 0, 0.5))
    assert Killers(path).of(killed) is None


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    killed, lived = (Mutant("programs", n, "p.py", "a", "b", ("t.py",)) for n in ("one", "two"))
    progress = Progress(tmp_path / "results.jsonl")
    assert progress.done([killed, lived]) == []
    results = [Result(killed, 1, 0.5, "t.py::test_of"), Result(lived, 0, 0.5)]
    for result in results:
        progress.note(result)
    assert progress.done([killed, lived]) == results
    # A mutant that is another by now is run again.
    assert progress.done([replace(killed, new="c"), lived]) == results[1:]


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
