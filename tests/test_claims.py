"""Runs on one store at the same time: a batch is made once, whoever makes it, and whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dorib.store import claims
from dorib.store.batches import ElsewhereError, in_turn, planned_batches
from dorib.store.store import Shelf, Store
from fixtures.forks import Forks
from fixtures.small_runs import OPTIONS, everything, job, left_over, report, small_suite

ITEMS = ["a", "b", "c", "d"]
HOLD = """
import sys
from pathlib import Path
from dorib.store.claims import claim

held = claim(Path(sys.argv[1]), sys.argv[2:])
print("held" if held else "refused", flush=True)
sys.stdin.read()
"""
COUNT = """
import sys

def hear(event, arguments):
    place = str(arguments[0]) if event == "os.mkdir" else ""
    if place.rpartition("/")[2].startswith(".writing-") and "/checks/" not in place:
        print("BATCH", flush=True)

sys.addaudithook(hear)
"""
"""Ahead of a run: a line for each batch that it makes, what is looked at once left out."""


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Store(tmp_path).shelf("images", {"of": "nothing"})


def again(shelf: Shelf, patience: float | None = None) -> Shelf:
    """The same shelf as another run sees it."""
    return Shelf(shelf.folder, shelf.key, patience=patience)


def make(shelf: Shelf, size: int = 1, said: list[int] | None = None) -> Iterator[list[str]]:
    """What a run makes of all items, one batch after another."""
    batches = planned_batches(ITEMS, size, lambda item: item not in shelf)
    told = [] if said is None else said
    for claim, batch in in_turn(shelf, batches, str, lambda i: i not in shelf, told.append):
        with claim, shelf.batch(batch) as folder:
            for item in batch:
                (folder / f"{item}.txt").write_text(item)
            yield batch


def held_elsewhere(shelf: Shelf, *items: str) -> subprocess.Popen[str]:
    """A process that claims a batch and keeps it until it ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(shelf.folder), *items],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def the_claim(shelf: Shelf) -> Path:
    [path] = shelf.folder.glob("claim-*")
    return path


def of_another_machine(path: Path) -> None:
    """Let a claim be one whose process cannot be looked at from here."""
    path.write_text(json.dumps(json.loads(path.read_text()) | {"machine": "another"}))


def make_older(path: Path, seconds: float) -> None:
    touched = path.stat().st_mtime - seconds
    os.utime(path, (touched, touched))


def test_two_runs_in_step_make_each_batch_once(shelf: Shelf) -> None:
    said: list[int] = []
    one, two = make(again(shelf, patience=0)), make(shelf, said=said)
    turns = [next(one), next(two), next(one), next(two)]
    assert turns == [["a"], ["b"], ["c"], ["d"]]
    # The other one is still at its last.
    with pytest.raises(ElsewhereError):
        next(one)
    assert list(two) == []
    assert sorted(shelf.items) == ITEMS
    assert sum(said) == 2
    assert list(make(again(shelf))) == []
    assert list(shelf.folder.glob("claim-*")) == []


def test_what_another_run_is_at_comes_last_and_once_it_is_given_up(shelf: Shelf) -> None:
    other = held_elsewhere(shelf, "a", "b")
    turns = make(shelf, size=2)
    assert next(turns) == ["c", "d"]
    assert other.stdin
    # It ends without having made anything.
    other.stdin.close()
    assert next(turns) == ["a", "b"]
    other.wait()


def test_without_patience_what_is_left_is_others(shelf: Shelf) -> None:
    other = held_elsewhere(shelf, "a", "b")
    hasty = again(shelf, patience=0)
    turns = make(hasty, size=2)
    assert next(turns) == ["c", "d"]
    with pytest.raises(ElsewhereError, match="at work on 1 batch"):
        next(turns)
    other.communicate()


def test_the_claim_of_a_killed_run_is_anyones_at_once(shelf: Shelf) -> None:
    other = held_elsewhere(shelf, "a", "b", "c", "d")
    other.send_signal(signal.SIGKILL)
    # It has not been waited for: its number is still taken.
    assert next(make(again(shelf, patience=10), size=4)) == ITEMS
    other.communicate()


def test_a_number_that_another_process_got_since_is_no_sign_of_life(shelf: Shelf) -> None:
    other = held_elsewhere(shelf, *ITEMS)
    path = the_claim(shelf)
    other.kill()
    other.communicate()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"process": os.getpid()}))
    assert next(make(again(shelf, patience=0), size=4)) == ITEMS


@pytest.mark.parametrize(("seconds", "stale"), [(60, False), (3600, True), (-3600, True)])
def test_a_claim_of_another_machine_is_judged_by_its_age(
    shelf: Shelf, seconds: float, stale: bool
) -> None:
    other = held_elsewhere(shelf, *ITEMS)
    path = the_claim(shelf)
    other.kill()
    other.communicate()
    of_another_machine(path)
    make_older(path, seconds)
    turns = make(again(shelf, patience=0), size=4)
    if stale:
        assert next(turns) == ITEMS
    else:
        with pytest.raises(ElsewhereError):
            next(turns)


def test_a_claim_is_touched_while_its_run_is_at_work(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "REFRESH_SECONDS", 0.01)
    claim = shelf.claim(ITEMS)
    assert claim is not None
    path = the_claim(shelf)
    with claim:
        make_older(path, 3600)
        before = path.stat().st_mtime
        while path.stat().st_mtime == before:
            time.sleep(0.01)
    assert not path.exists()


def test_a_claim_that_was_taken_over_stays_with_who_took_it(shelf: Shelf) -> None:
    slow = shelf.claim(ITEMS)
    assert slow is not None
    make_older(the_claim(shelf), 3600)
    other = held_elsewhere(shelf, *ITEMS)
    slow.release()
    assert json.loads(the_claim(shelf).read_text())["process"] == other.pid
    other.communicate()


def test_an_error_gives_the_batch_up(shelf: Shelf) -> None:
    for claim, _ in in_turn(shelf, [ITEMS], str, lambda item: True):
        with pytest.raises(ArithmeticError), claim:
            raise ArithmeticError
        assert list(shelf.folder.glob("claim-*")) == []


def test_only_what_nobody_is_at_is_swept(tmp_path: Path, shelf: Shelf) -> None:
    kept = held_elsewhere(shelf, "a")
    gone = held_elsewhere(shelf, "b")
    gone.kill()
    gone.communicate()
    Store(tmp_path).shelf("images", {"of": "something else"})
    assert json.loads(the_claim(shelf).read_text())["process"] == kept.pid
    kept.communicate()


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("logs")) as parent:
        yield parent


def test_runs_at_the_same_time_share_their_batches(
    forks: Forks, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    suite = small_suite(tiny_suite_folder, tmp_path / "suite")
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    options = {**OPTIONS, "limit": 3}
    forks.together([job(suite, alone, **options)])
    ended = forks.together([job(suite, shared, before=COUNT, **options)] * 2)
    assert all(report(one).notes == [] for one in ended)
    assert left_over(shared) == []
    assert everything(shared) == everything(alone)
    made = [one.printed.count("BATCH\n") for one in ended]
    stored = [p for p in shared.glob("store/*/*/batch-*") if "checks" not in p.parts]
    assert sum(made) == len(stored)
    assert min(made) > 0
