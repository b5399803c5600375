"""`dorib verify`: rows replayed from what is published beside them, and what is so and what not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dorib.config import RunConfig, make_config
from dorib.errors import DoribError
from dorib.host.configure import NONE, ORACLE
from dorib.host.registry import Registry, discover
from dorib.ranking.entries import Entry
from dorib.ranking.entry_fields import Summary
from dorib.ranking.leaderboard import LEADERBOARD_FILE, entry_file
from dorib.ranking.records import Record
from dorib.replay.asked import options_of, suite_of
from dorib.replay.comparing import (
    ROUNDING,
    TOLERANCE,
    Finding,
    Outcome,
    compare_entries,
    compare_sample,
)
from dorib.replay.lot import Lot
from dorib.replay.replaying import Labels, Replay, Replayed
from dorib.replay.sharing import shared_by
from dorib.report.site.boards import Board, read_board
from dorib.report.witnesses.places import utility_place, values_place
from dorib.report.witnesses.reading import WitnessElsewhereError
from dorib.report.witnesses.values import Values, read_values, values_of
from dorib.reporting import Reporter, Silent
from dorib.session import Session

OLDEST = 4
"""Version of entries that have witnesses."""


@dataclass(frozen=True)
class CellVerified:
    """What came of replaying one cell."""

    mitigation: str
    attack: str
    outcome: Outcome
    reasons: tuple[str, ...]
    """What is not so, the plainest first, or where the witness is; nothing where all is so."""
    samples: Mapping[str, Finding]
    """Each that was replayed by itself; none where the cell could not be."""
    prompts: Mapping[str, Finding]
    """The utility prompts that were replayed under the mitigation, alike."""


@dataclass(frozen=True)
class Verified:
    """What came of replaying rows of a leaderboard."""

    folder: Path
    cells: tuple[CellVerified, ...]
    lot: Lot | None = None
    """By which samples were drawn; None: all were replayed."""
    model: str = ""
    """Digest of the target model, by the code that replayed."""

    @property
    def outcome(self) -> Outcome:
        """The worst of its cells'."""
        return max((cell.outcome for cell in self.cells), default=Outcome.NOT_SO)


def verify(
    path: Path,
    registry: Registry,
    reporter: Reporter,
    *,
    suite: str | None = None,
    large: Path | None = None,
    device: str = "auto",
    tolerance: float | None = None,
    out: Path | None = None,
    lot: Lot | None = None,
    required_only: bool = False,
    pictures: Path | None = None,
    workers: int = 1,
    plugins: Sequence[Path] = (),
) -> Verified:
    """Replay an entry, or all of a leaderboard, from the witnesses beside it.

    Args:
        path: a leaderboard's folder, or the file of one of its entries.
        registry: where metrics, probes and sampling rules are looked up. Mitigations and attacks
            need not be installed.
        reporter: hears of each verb that has work to do.
        suite: a folder, where the suite is not registered by the name that entries give.
        large: where those witnesses lie that are too large to be published.
        device: where the model runs.
        tolerance: by which numbers may differ (None: where the entry was made by another machine
            or other versions `TOLERANCE`; else not at all or, where a lot makes other batches,
            `ROUNDING`).
        out: keeps what is replayed, so that a stopped verification goes on (None: nothing is).
        lot: by which samples and utility prompts are drawn whose images are made and judged again
            (None: all are). What an entry says of all of them is made from these and the published
            values of the others, but for values of a whole sample or cell, which are not looked at
            then.
        required_only: whether the attacks that rows are not ranked by are left out.
        pictures: where a gallery of what was replayed is put (None: nowhere).
        workers: how many processes replay side by side; each finds its own plugins.
        plugins: the files among the registry's plugins.

    Raises:
        DoribError: there is no such leaderboard, it contradicts itself, or its suite is not here.
    """
    folder, asked = _folder_of(path)
    board = read_board(folder, registry)
    wanted = _wanted(board, asked, required_only)
    first = next((e for e in board.entries if e.searches), board.entries[0])
    if first.schema_version < OLDEST:
        raise DoribError(
            f"{folder}: its entries are of version {first.schema_version}, which have no "
            "witnesses; run the rows again"
        )
    options = options_of(first, suite_of(first, suite, registry))
    with nullcontext(out) if out else TemporaryDirectory(prefix="dorib-verify-") as place:
        config = make_config(options | {"out": str(place), "device": device}, "entry")
        asked_for = (config, folder, _needed(board, wanted), large, lot)
        with shared_by(workers, partial(_in_worker, plugins, *asked_for), reporter):
            session = Session.open(config, registry, reporter)
            replay = Replay(session, *asked_for)
            if workers > 1:
                for _ in replay.share(0, workers):
                    pass
            replayed = replay.replay()
        if pictures:
            replay.draw_pictures(pictures)
    cells = tuple(_verified(folder, entry, replayed, tolerance) for entry in wanted)
    return Verified(folder, cells, lot, replayed.model)


def _in_worker(
    plugins: Sequence[Path],
    config: RunConfig,
    folder: Path,
    entries: Sequence[Entry],
    large: Path | None,
    lot: Lot | None,
) -> Replay:
    session = Session.open(config, discover(files=plugins), Silent())
    return Replay(session, config, folder, entries, large, lot)


def _folder_of(path: Path) -> tuple[Path, str | None]:
    """The leaderboard's folder, and the entry's file relative to it."""
    if path.is_dir():
        return path, None
    folder = path.parent.parent
    if not path.is_file() or not (folder / LEADERBOARD_FILE).is_file():
        raise DoribError(
            f"{path}: no leaderboard's folder, and no entry in one; give a folder with "
            f"{LEADERBOARD_FILE}, or one of the files in its entries/"
        )
    return folder, f"{path.parent.name}/{path.name}"


def _wanted(board: Board, asked: str | None, required_only: bool) -> list[Entry]:
    if asked is None and required_only:
        # An entry of before they were stated is told to be too old, later.
        return [e for e in board.entries if e.attack.label in (e.required_attacks or (NONE,))]
    wanted = [entry for entry in board.entries if asked in (None, entry_file(entry))]
    if not wanted:
        raise DoribError(f"{board.folder / str(asked)}: is none of its leaderboard's entries")
    return wanted


def _needed(board: Board, wanted: Sequence[Entry]) -> list[Entry]:
    """Those wanted and those that their numbers are told against, reference lines first."""
    mitigations = {entry.mitigation.label for entry in wanted}
    attacks = {entry.attack.label for entry in wanted} | {NONE}
    lines = [e for e in board.entries if e.mitigation.name in (NONE, ORACLE)]
    others = [e for e in board.entries if e.mitigation.name not in (NONE, ORACLE)]
    lines.sort(key=lambda e: (e.mitigation.name != NONE, e.attack.name != NONE))
    others = [e for e in others if e.mitigation.label in mitigations]
    return [e for e in (*lines, *others) if e.attack.label in attacks]


def _verified(
    folder: Path, entry: Entry, replayed: Replayed, tolerance: float | None
) -> CellVerified:
    labels: Labels = (entry.mitigation.label, entry.attack.label)
    try:
        if labels in replayed.refused:
            raise replayed.refused[labels]
        published = read_values(folder / values_place(entry))
        of_prompts = replayed.utility[entry.mitigation.label]
        published_of_prompts = read_values(folder / utility_place(entry)) if of_prompts else None
    except WitnessElsewhereError as error:
        return CellVerified(*labels, Outcome.NOT_HERE, (str(error),), {}, {})
    except DoribError as error:
        return CellVerified(*labels, Outcome.NOT_SO, (str(error),), {}, {})
    found = replayed.entries[labels]
    if tolerance is None:
        exact = 0 if replayed.drawn is None else ROUNDING
        tolerance = exact if entry.environment == found.environment else TOLERANCE
    samples, flips = _samples(published, found, replayed.records[labels], tolerance)
    prompts: dict[str, Finding] = {}
    if published_of_prompts is not None:
        prompts, _ = _samples(published_of_prompts, found, of_prompts, tolerance)
    if replayed.drawn is not None:
        samples, prompts = (
            {name: one for name, one in findings.items() if _is_told(name, one, replayed)}
            for findings in (samples, prompts)
        )
    same_images = entry.digests.images == found.digests.images
    unseen = _of_whole_samples(entry) if replayed.drawn is not None else frozenset()
    differing = [
        finding
        for path, finding in compare_entries(entry, found, 0 if same_images else tolerance, flips)
        if path not in unseen
    ]
    findings = [*differing, *samples.values(), *prompts.values()]
    outcome = max((finding.outcome for finding in findings), default=Outcome.SAME)
    reasons = tuple(f.what for f in findings if f.outcome == Outcome.NOT_SO)
    return CellVerified(*labels, outcome, reasons, samples, prompts)


def _is_told(sample: str, finding: Finding, replayed: Replayed) -> bool:
    """Whether it was replayed, or nothing is published that could stand in for it."""
    return sample in (replayed.drawn or ()) or finding.outcome.is_lie


def _of_whole_samples(entry: Entry) -> frozenset[str]:
    """Paths of what an entry tells of values that no table of images' values holds."""
    groups = {"memorized": entry.summaries.memorized, "controls": entry.summaries.controls}
    of_group = {
        (group, name)
        for group, summaries in groups.items()
        for name, summary in summaries.items()
        if summary.level != "image"
    }
    summaries = {
        f"summaries.{group}.{name}.{field}"
        for group, name in of_group
        for field in Summary.model_fields
    }
    places = range(len(entry.curve))
    medians = {f"curve.{place}.medians.{name}" for place in places for _, name in of_group}
    return frozenset(summaries | medians)


def _samples(
    published: Values, found: Entry, records: Sequence[Record], tolerance: float
) -> tuple[dict[str, Finding], int]:
    """Each sample's finding, and how many verdicts have turned over within the tolerance."""
    made = values_of(records)
    samples: dict[str, Finding] = {}
    flips = 0
    for sample in dict.fromkeys((*made.samples, *published.samples)):
        if _budgets(made, sample) != _budgets(published, sample):
            what = f"{sample}: is published at other budgets, or not at all"
            samples[sample] = Finding(Outcome.NOT_SO, what)
            continue
        finding, flipped = compare_sample(published, made, sample, found.stack, tolerance)
        samples[sample] = finding
        flips += flipped and finding.outcome == Outcome.WITHIN_TOLERANCE
    return samples, flips


def _budgets(values: Values, sample: str) -> list[int]:
    return [budget for name, budget in values.places if name == sample]


def as_json(found: Verified) -> dict[str, Any]:
    """What was found, in JSON's types."""
    return {
        "outcome": found.outcome.words,
        "lot": {"size": found.lot.size, "seed": found.lot.seed} if found.lot else None,
        "cells": [
            {
                "mitigation": cell.mitigation,
                "attack": cell.attack,
                "outcome": cell.outcome.words,
                "reasons": list(cell.reasons),
                "samples": _findings_as_json(cell.samples),
                "prompts": _findings_as_json(cell.prompts),
            }
            for cell in found.cells
        ],
    }


def _findings_as_json(findings: Mapping[str, Finding]) -> dict[str, Any]:
    return {
        name: {"outcome": finding.outcome.words, "what": finding.what}
        for name, finding in findings.items()
    }
