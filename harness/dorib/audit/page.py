"""The page of an audit, and its findings as JSON beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dorib.audit.answer import Answer, how
from dorib.audit.findings import Finding
from dorib.host.configure import NONE
from dorib.ranking.entries import Entry
from dorib.report.site import charts
from dorib.report.site.pictures import Pictures, Shown, read_pictures
from dorib.report.webpages import template_environment
from dorib.store.files import named_write_errors, write_json, write_text

PAGE = "audit.html"
FINDINGS = "audit.json"
LOOKS = {
    "given away by its caption": "hidden",
    "comes back under attack": "damaged",
    "not found": "erased",
    "not judged": "undecided",
}
"""Which of the page's marks each finding has."""


def write_answer(answer: Answer, out: Path, entries: Sequence[Entry]) -> Path:
    """Write the page and the JSON of an audit into its folder; gives the page's path.

    Raises:
        DoribError: the pictures are damaged, or the disk is full or not writable.
    """
    pictures = read_pictures(out, entries)
    assert pictures is not None
    environment = template_environment("dorib.audit", "dorib.report.site")
    environment.globals |= {"chart": charts, "how": how}
    own = [entry for entry in entries if entry.mitigation.label == answer.found.label]
    text = environment.get_template("audit.html").render(
        answer=answer,
        looks=LOOKS,
        samples={sample.id: sample for sample in pictures.samples},
        strips={
            one.sample: _strip(answer, one, own, pictures)
            for one in (*answer.found.pictures, *answer.found.controls)
        },
        first=entries[0],
        records="records.jsonl",
        findings=FINDINGS,
    )
    with named_write_errors(out):
        write_json(out / FINDINGS, _as_json(answer))
        write_text(out / PAGE, text)
    return out / PAGE


def _strip(
    answer: Answer, finding: Finding, own: Sequence[Entry], pictures: Pictures
) -> list[Shown]:
    """What was drawn of a picture: by the original, by its caption, and under each attack."""
    found = []
    if answer.in_original is not None:
        found.append(pictures.of(finding.sample, NONE, NONE, "original model, its caption"))
    for entry in own:
        attack = entry.attack.label
        title = "its caption" if attack == NONE else f"attacked: {attack}"
        found.append(pictures.of(finding.sample, answer.found.label, attack, title))
    return [one for one in found if one is not None]


def _as_json(answer: Answer) -> dict[str, Any]:
    def of(findings: Sequence[Finding]) -> list[dict[str, Any]]:
        return [asdict(one) for one in findings]

    return {
        "schema_version": 1,
        "model": answer.model,
        "original": answer.original,
        "judge": answer.judge,
        "k": answer.k,
        "budget": answer.found.budget,
        "attacks": answer.attacks,
        "pictures": of(answer.found.pictures),
        "controls": of(answer.found.controls),
        "in_original": of(answer.in_original.pictures) if answer.in_original else None,
        "failed": answer.failed,
        "meaning": answer.meaning,
    }
