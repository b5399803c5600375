"""What is kept of a board in the store, so that all of it can be made anew from there."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from dorib.contracts.params import Scope
from dorib.errors import DoribError
from dorib.ranking.entry_fields import Digests, Environment, MethodFacts, RunSettings
from dorib.ranking.facts import CellFacts, RunFacts
from dorib.ranking.leaderboard import PlannedCell
from dorib.ranking.rates import Sha256
from dorib.store.boards import BoardFolder
from dorib.store.files import as_json, write_text
from dorib.store.fingerprint import digest, method_slug
from dorib.suites.manifest import SAMPLE_ID
from dorib.validation import StrictModel

# A store may come from somebody else, and these become the names of files.
_SLUG = re.compile(r"\w[\w.-]*", re.ASCII)
Slug = Annotated[str, Field(pattern=f"^{_SLUG.pattern}$")]
Place = Annotated[str, Field(pattern=r"^\w[\w-]*(/\w[\w.-]*)+$")]
"""Of a file in the store: it leads nowhere else."""

Places = tuple[tuple[str, int, int], ...]


class KeptFacts(StrictModel):
    """`CellFacts` as JSON holds them."""

    mitigation: MethodFacts
    scope: Scope
    attack: MethodFacts
    knows: tuple[str, ...]
    searches: bool
    digests: Digests
    work: Places
    """Sample, budget, and search work in U-Net items."""
    fit_work: int
    judging_work: int
    smallest_batch: int | None
    bypass: bool
    adaptive: bool | None
    rule_work: float
    not_applicable: str | None
    environment: Environment
    settings: RunSettings | None = None

    @classmethod
    def of(cls, facts: CellFacts) -> KeptFacts:
        """To be kept; of which code it is in comparison with others is left out."""
        content: dict[str, Any] = {f.name: getattr(facts, f.name) for f in fields(facts)}
        del content["older"]
        content["knows"] = tuple(sorted(facts.knows))
        content["work"] = tuple((*place, work) for place, work in sorted(facts.work.items()))
        return cls.model_validate(content)

    def cell(self, older: str | None = None) -> CellFacts:
        """As ranking takes them."""
        content = {name: getattr(self, name) for name in type(self).model_fields}
        content["knows"] = frozenset(self.knows)
        content["work"] = {(sample, budget): work for sample, budget, work in self.work}
        return CellFacts(**content, older=older)


class KeptCell(StrictModel):
    """One cell of a board."""

    facts: KeptFacts
    probes: dict[str, tuple[str, ...]]
    """What whoever probes holds, by the label of each probe of its run."""
    pictures: dict[str, Place]
    """By memorized sample, the image that readers are shown: its place in the store."""
    shelves: tuple[str, ...]
    """Places in the store of all that it was made from."""

    @model_validator(mode="after")
    def _of_methods_with_names(self) -> Self:
        if not _SLUG.fullmatch(self.slug):
            raise ValueError("a method's name is none that a file can have")
        return self

    @property
    def labels(self) -> tuple[str, str]:
        """Of mitigation and attack."""
        return self.facts.mitigation.label, self.facts.attack.label

    @property
    def slug(self) -> str:
        """What its pictures' folder is called, and its entry."""
        return f"{slug(self.facts.mitigation)}.{slug(self.facts.attack)}"


class ListedCell(StrictModel):
    """A cell by name, and which content counts."""

    mitigation: str
    attack: str
    slug: Slug
    turn: int
    """Cells that were made by newer code have higher ones."""
    facts: Sha256
    records: Sha256


class ListedRow(StrictModel):
    """The records of a mitigation that belong to no attack: of utility prompts and probes."""

    mitigation: str
    slug: Slug
    records: Sha256


class KeptBoard(StrictModel):
    """What a board is of, and what is on it, in order."""

    format: Literal[1] = 1
    run: dict[str, Any]
    """`RunFacts` that all its runs share."""
    model: dict[str, Any]
    """The target model's key, without code."""
    rows: tuple[ListedRow, ...] = ()
    cells: tuple[ListedCell, ...] = ()
    unfinished: tuple[PlannedCell, ...] = ()

    @property
    def name(self) -> str:
        """That of its folder: the same for all runs that may stand on one board."""
        return digest([self.run, self.model])[:32]

    @property
    def facts(self) -> RunFacts:
        """The facts that all its runs share."""
        return _run_facts().validate_python(self.run)


def kept_board(run: RunFacts, model_key: dict[str, Any]) -> KeptBoard:
    """An empty board for such a run."""
    environment = run.environment.model_copy(
        update={"dorib": "", "python": "", "processor": None, "threads": None}
    )
    shared = replace(run, environment=environment, probes={})
    model = {name: value for name, value in model_key.items() if name not in ("code", "libraries")}
    return KeptBoard(run=_run_facts().dump_python(shared, mode="json"), model=model)


def read_kept(folder: BoardFolder) -> KeptBoard | None:
    """The board that is there; None where none is.

    Raises:
        DoribError: it is damaged, or that of another folder.
    """
    try:
        board = KeptBoard.model_validate_json(folder.list.read_bytes())
        _check(board, folder.name)
        return board
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DoribError(
            f"{folder.list}: damaged; remove {folder.folder} and run again, which computes "
            "nothing that is stored"
        ) from error


def _check(board: KeptBoard, name: str) -> None:
    """Raises ValueError where it is not of the folder, or of no run."""
    run = board.facts
    samples = [sample.id for sample in (*run.memorized, *run.controls)]
    if board.name != name:
        raise ValueError("not what was written")
    if not all(SAMPLE_ID.fullmatch(sample) for sample in samples) or not run.memorized:
        raise ValueError("its samples are none")
    if run.k < 1 or not run.budgets or any(a >= b for a, b in pairwise((-1, *run.budgets))):
        raise ValueError("its images or budgets are none")


def write_kept(folder: BoardFolder, board: KeptBoard) -> None:
    """Have `board` count from now on.

    Raises:
        OSError: the disk is full or not writable.
    """
    write_text(folder.list, as_json(board.model_dump(mode="json")))


def slug(method: MethodFacts) -> str:
    """A method as part of a file's name."""
    return method_slug(method.name, method.label, method.params)


@cache
def _run_facts() -> TypeAdapter[RunFacts]:
    return TypeAdapter(RunFacts)
