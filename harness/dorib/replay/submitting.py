"""`dorib submit`: a row of a run as a folder that can be published by a pull request."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dorib.contracts.cards import MethodCard
from dorib.contracts.specs import MethodSpec
from dorib.errors import DoribError
from dorib.host.registry import Registry
from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import write_leaderboard
from dorib.ranking.verdict import verdict
from dorib.reading import read_yaml
from dorib.replay.asked import suite_of
from dorib.replay.reproducing import RUN_FILE, run_file_of
from dorib.report.opened import open_results
from dorib.report.witnesses.places import LARGE
from dorib.report.witnesses.writing import write_witnesses
from dorib.store.files import named_write_errors, whole_folder, write_json
from dorib.store.fingerprint import deciding_versions, method_slug
from dorib.store.store import Note
from dorib.validation import checked

CARD_FILE, ENVIRONMENT_FILE, TEXT_FILE = "card.json", "environment.json", "PULL_REQUEST.md"
SUBMISSIONS = "leaderboards/submissions"
"""Where in the repository folders of submissions are put."""


@dataclass(frozen=True)
class Submission:
    """A folder ready for a pull request."""

    folder: Path
    text: Path
    """What the pull request says."""


def submit(
    out: Path,
    mitigation: str,
    registry: Registry,
    note: Note,
    *,
    to: Path | None = None,
    card: Path | None = None,
    hub: str | None = None,
    suite: str | None = None,
) -> Submission:
    """Write the row of a mitigation, its reference lines, and all that others verify them from.

    Args:
        out: the folder of a finished run.
        mitigation: its label there.
        registry: where the suite is looked up, and what is installed.
        note: hears of what is damaged in the store, and of witnesses that are too large.
        to: a folder that is not there yet (None: one in `out`).
        card: a YAML or JSON file with the fields of a `MethodCard`, where the method's plugin
            brings none.
        hub: where on the hub the large witnesses will lie, as `owner/name`.
        suite: a folder, where the suite is not registered by the name that entries give.

    Raises:
        DoribError: there is no such row, it is a reference line, it has no card, or the folder is
            there already or cannot be written.
    """
    entries = open_results(out).entries
    row = [entry for entry in entries if _is_meant(entry, mitigation)]
    if not row:
        there = dict.fromkeys(e.mitigation.label for e in entries if not e.reference_line)
        raise DoribError(
            f"{out}: no mitigation {mitigation} to submit; choose from: {', '.join(there)}"
        )
    own = _card(row[0], card)
    row = [_with_card(entry, own) for entry in row]
    lines = [entry for entry in entries if entry.reference_line]
    of = row[0].mitigation
    to = to or out / "submissions" / f"{method_slug(of.name, of.label, of.params)}"
    if os.path.lexists(to):
        raise DoribError(f"{to}: is there already; name another folder by --to, or remove it")
    run_file = run_file_of(row, suite_of(row[0], suite, registry))
    labels = {entry.mitigation.label for entry in (*lines, *row)}
    with named_write_errors(to, "--to"), whole_folder(to) as folder:
        write_leaderboard(folder, [*lines, *row], row[0].required_attacks)
        write_witnesses(out, note, to=folder, hub=hub, mitigations=labels)
        write_json(folder / CARD_FILE, own.model_dump(mode="json"))
        write_json(folder / ENVIRONMENT_FILE, _environment(row[0], registry))
        (folder / RUN_FILE).write_text(run_file, encoding="utf-8")
        text = _text(row, own, to.name, has_large=(folder / LARGE).is_dir())
        (folder / TEXT_FILE).write_text(text, encoding="utf-8")
    return Submission(to, to / TEXT_FILE)


def _is_meant(entry: Entry, mitigation: str) -> bool:
    label = entry.mitigation.label
    return not entry.reference_line and label in (mitigation, str(MethodSpec.parse(mitigation)))


def _card(entry: Entry, path: Path | None) -> MethodCard:
    if path is None:
        if entry.mitigation.card is None:
            raise DoribError(
                f"mitigation {entry.mitigation.label}: its plugin brings no card; give title, "
                "authors, year and paper in a file by --card"
            )
        return entry.mitigation.card
    content = read_yaml(path, "no such file; write a method's card there")
    if not isinstance(content, dict):
        raise DoribError(f"{path}: holds no mapping; write for example 'title: My method'")
    return checked(MethodCard, content, str(path))


def _with_card(entry: Entry, card: MethodCard) -> Entry:
    mitigation = entry.mitigation.model_copy(update={"card": card})
    return entry.model_copy(update={"mitigation": mitigation})


def _environment(entry: Entry, registry: Registry) -> dict[str, Any]:
    return {
        "entry": entry.environment.model_dump(mode="json"),
        "libraries": deciding_versions(),
        "plugins": {
            plugin.name: f"{plugin.source} {plugin.version}".strip() for plugin in registry.plugins
        },
    }


def _text(row: Sequence[Entry], card: MethodCard, name: str, *, has_large: bool) -> str:
    first = row[0]
    said = verdict(row)
    lines = [
        f"# {card.title} on {first.suite.name}",
        "",
        *([card.sentence, ""] if card.sentence else []),
        f"* method: {', '.join(filter(None, (card.authors, str(card.year or ''), card.paper)))}",
        f"* row: `{first.mitigation.label}`, split {first.split}, profile {first.profile}, "
        f"{first.samples.memorized} memorized samples, {first.samples.controls} controls, "
        f"k {first.k}",
        f"* verdict by dorib's rule: {said}",
        "",
        "| attack | memorized | controls | oracle | erasure gap |",
        "|---|---|---|---|---|",
    ]
    for entry in row:
        rates = (entry.memorization_rate, entry.controls_rate, entry.oracle_rate)
        shown = [f"{rate.hits} of {rate.n}" if rate else "-" for rate in rates]
        gap = entry.erasure_gap
        width = f"{gap.value:.2f} ({gap.low:.2f} to {gap.high:.2f})" if gap else "-"
        lines.append(f"| `{entry.attack.label}` | {' | '.join(shown)} | {width} |")
    lines += [
        "",
        f"This folder goes to `{SUBMISSIONS}/{name}`. To verify it:",
        "",
        f"    dorib verify {SUBMISSIONS}/{name}",
        "",
        "- [ ] The row was tuned on `dev` alone.",
        "- [ ] No image of the split was used that a defender may not see.",
        "- [ ] The code of the method is public, or will be by the time of: ",
    ]
    if has_large:
        lines += [f"- [ ] The files in `{LARGE}/` are on the hub, and not in this pull request."]
    return "\n".join(lines) + "\n"
