"""Damaged stores: every kind of file in every way, none of them served."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures.damage import DAMAGES
from fixtures.forks import Forks
from fixtures.small_runs import everything, job, left_over, report, small_suite

CATEGORIES = {
    kind: (*names, "index.json", "key.json")
    for kind, names in {
        "edits": ("edit.json", "edit.safetensors", "fit.json"),
        "triggers": ("trigger.json", "trigger.safetensors"),
        "images": (".png",),
        "records": (".jsonl",),
    }.items()
}


@dataclass(frozen=True)
class Case:
    """One kind of file, by the kind of its artefact and the end of its name, and one damage."""

    kind: str
    name: str
    damage: str

    def files(self, out: Path) -> list[Path]:
        return sorted(
            path for path in (out / "store" / self.kind).rglob("*") if path.name.endswith(self.name)
        )


def unit(path: Path) -> Path:
    """What is computed or written anew together with a file: its batch, or the file itself."""
    return next((p for p in path.parents if p.name.startswith("batch-")), path)


def rounds(out: Path) -> Iterator[dict[Case, list[Path]]]:
    """All cases, as many at a time as there are batches to damage, with the files they take."""
    waiting = [
        Case(kind, name, damage)
        for kind, names in CATEGORIES.items()
        for name in names
        for damage in DAMAGES
    ]
    random.Random(3).shuffle(waiting)
    while waiting:
        taken: dict[Case, list[Path]] = {}
        used: set[Path] = set()
        for case in waiting:
            files = [path for path in case.files(out) if unit(path) not in used]
            if files:
                first = files[0]
                unlike = (p for p in files[1:] if p.read_bytes() != first.read_bytes())
                other = next(unlike, None)
                if other is None and case.damage in ("swapped", "a link"):
                    continue
                taken[case] = [first, other or first]
                used |= {unit(first)} | ({unit(other)} if other else set())
        waiting = [case for case in waiting if case not in taken]
        yield taken


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("logs")) as parent:
        yield parent


@pytest.mark.parametrize("form", ["reduced", pytest.param("full", marks=pytest.mark.slow)])
def test_no_damage_is_served(
    forks: Forks, tiny_suite_folder: Path, tmp_path: Path, form: str
) -> None:
    suite, out = small_suite(tiny_suite_folder, tmp_path / "suite"), tmp_path / "undisturbed"
    [ended] = forks.together([job(suite, out)])
    assert report(ended).notes == []
    expected = everything(out)
    tried = 0
    for number, cases in enumerate(rounds(out)):
        damaged = Path(shutil.copytree(out, tmp_path / f"damaged-{number}"))
        said = set()
        for case, files in cases.items():
            path, other = (damaged / file.relative_to(out) for file in files)
            DAMAGES[case.damage](path, other)
            if not (case.name == "key.json" and case.damage == "deleted"):
                said.add(unit(path))
            if case.damage == "swapped":
                said.add(unit(other))
        [ended] = forks.together([job(suite, damaged)])
        notes = report(ended).notes
        assert {Path(note.partition(":")[0]) for note in notes} == said, cases
        assert len(notes) == len(said)
        assert everything(damaged) == expected, cases
        assert left_over(damaged) == []
        tried += len(cases)
        shutil.rmtree(damaged)
        if form == "reduced":
            assert tried >= 20
            return
    assert tried >= 150
