"""Rows verified by several processes on one machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dorib.config import make_config
from dorib.host.registry import discover
from dorib.ranking.entries import read_entry
from dorib.replay.asked import options_of, suite_of
from dorib.replay.comparing import Outcome
from dorib.replay.replaying import Replay
from dorib.replay.verifying import verify
from dorib.report.witnesses.writing import write_witnesses
from dorib.reporting import Advance, Reporter, Silent
from dorib.runner import run
from dorib.session import Session
from fixtures.lies import ROW

OPTIONS = {
    "mitigation": ["wanda:sparsity=0.2", "prompt-filter"],
    "attack": ["seeds", "dori"],
    "limit": 1,
    "seeds": 1,
    "budgets": [24],
}


class Heard(Silent):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.verbs: list[str] = []

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        """Keep the verb."""
        self.verbs.append(name)
        yield lambda units: None

    def note(self, text: str) -> None:
        """Keep the note."""
        self.notes.append(text)


@pytest.fixture(scope="module")
def published(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    run(make_config(OPTIONS | {"suite": str(tiny_suite_folder), "out": str(out)}), discover())
    write_witnesses(out, pytest.fail)
    shutil.rmtree(out / "store")
    return out


def test_what_several_find_is_what_one_finds(published: Path, tiny_suite_folder: Path) -> None:
    suite = str(tiny_suite_folder)
    by_one, by_two, by_more = (
        verify(published, discover(), Silent(), suite=suite, workers=workers)
        for workers in (1, 2, 5)
    )
    assert by_one.outcome == Outcome.SAME
    assert by_one == by_two == by_more


def test_a_row_that_cannot_be_replayed_stops_nobody(
    published: Path, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(published, tmp_path / "copy"))
    (copy / "witnesses" / "wanda-6e180b13.edit.safetensors").unlink()
    found = verify(copy, discover(), Silent(), suite=str(tiny_suite_folder), workers=2)
    assert {cell.outcome for cell in found.cells if cell.mitigation != ROW} == {Outcome.SAME}
    assert {cell.outcome for cell in found.cells if cell.mitigation == ROW} == {Outcome.NOT_SO}


def test_what_a_lost_worker_was_to_do_is_done(
    published: Path, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "ends_workers.py"
    plugin.write_text(
        "import multiprocessing, os\nif multiprocessing.parent_process():\n    os._exit(3)\n"
    )
    heard = Heard()
    found = verify(
        published,
        discover(),
        heard,
        suite=str(tiny_suite_folder),
        workers=2,
        plugins=[plugin],
    )
    assert found.outcome == Outcome.SAME
    assert heard.notes == ["a worker was lost; the others did what was its"]


def test_one_worker_alone_makes_all_that_is_judged(
    published: Path, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    entries = [read_entry(path) for path in sorted(published.glob("entries/*.json"))]
    entries.sort(key=lambda e: (e.mitigation.name != "none", e.attack.name != "none"))
    searching = next(entry for entry in entries if entry.searches)
    suite = suite_of(searching, str(tiny_suite_folder), discover())
    config = make_config(options_of(searching, suite) | {"out": str(tmp_path)}, "entry")

    def replay(reporter: Reporter) -> Replay:
        return Replay(Session.open(config, discover(), reporter), config, published, entries, None)

    assert len(list(replay(Silent()).share(1, 2))) == len(entries)
    heard = Heard()
    assert len(replay(heard).replay().entries) == len(entries)
    assert heard.verbs == []
