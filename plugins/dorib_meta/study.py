"""One `dorib meta`: read runs, part what is held from what is not, write."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from dorib import (
    DoribError,
    Entry,
    Results,
    load_suite,
    named_write_errors,
    open,
    require_figures,
    write_text,
)
from dorib_meta.evidence import Pools, gather, has_records
from dorib_meta.findings import Findings, Source
from dorib_meta.trust import Levels, attack_trusts, falls, probe_trusts


@dataclass(frozen=True)
class MetaResult:
    """What a study leaves behind."""

    findings: Findings
    json: Path
    figures: tuple[Path, ...]


def study(
    folders: Sequence[Path],
    out: Path,
    *,
    holds: Collection[str] = (),
    lacks: Collection[str] = (),
    metric: str | None = None,
    suite: str | None = None,
) -> MetaResult:
    """Read what `dorib run` left in `folders`, and write `meta.json` and figures to `out`.

    Args:
        folders: runs of one suite.
        out: made where it is not there.
        holds: labels of mitigations that are known to leave the images in the model, besides
            `none` and `prompt-filter`.
        lacks: of those known to have none of them, besides the oracle.
        metric: what figures show (None: the likeness to the original, else verdicts).
        suite: name or folder, for duplication levels (None: that of the runs, where it is
            installed).

    Raises:
        DoribError: runs cannot be read, or do not go together; no model is known to hold the
            images, or nothing is there to set against it; or a figure cannot be drawn or written.
    """
    require_figures("meta")
    runs = [open(folder) for folder in folders]
    pools = Pools.of(runs, holds, lacks)
    _require_one_making(runs, pools)
    evidence = gather(runs, pools)
    levels = _levels(runs[0].leaderboard.suite.name, runs[0].leaderboard.suite.digest, suite)
    trusts = attack_trusts(evidence, pools, levels)
    if not trusts:
        raise DoribError(
            "meta: nothing to tell apart; it takes an unmitigated model, and beside it the oracle "
            "(-m retrain) or controls"
        )
    board = runs[0].leaderboard
    findings = Findings(
        suite=board.suite.name,
        version=board.suite.version,
        suite_digest=board.suite.digest,
        k=board.k,
        sources=tuple(
            Source(
                split=run.leaderboard.split,
                model=run.entries[0].digests.model,
                records=has_records(run),
            )
            for run in runs
        ),
        holding=pools.holding,
        lacking=pools.lacking,
        attacks=tuple(trusts),
        falls=tuple(falls(trusts)),
        probes=tuple(probe_trusts(evidence, pools, levels)),
    )
    return _write(findings, out, shown_metric(findings, metric))


def shown_metric(findings: Findings, metric: str | None) -> str:
    """The metric that tables and figures show.

    Raises:
        DoribError: no attack was judged by the one asked for.
    """
    there = list(dict.fromkeys(trust.metric for trust in findings.attacks))
    if metric is None:
        return next((name for name in ("sscd_original", "replicates") if name in there), there[0])
    if metric not in there:
        raise DoribError(f"meta: nothing was measured by {metric}; there are {', '.join(there)}")
    return metric


def _write(findings: Findings, out: Path, metric: str) -> MetaResult:
    from dorib_meta.figure import draw

    with named_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "meta.json", findings.model_dump_json(indent=1) + "\n")
        figures = draw(findings, metric, out / "meta")
    return MetaResult(findings, out / "meta.json", figures)


def _levels(name: str, digest: str, reference: str | None) -> Levels:
    """How often each memorized sample was drawn; nothing where the suite is not at hand.

    Raises:
        DoribError: the suite that was named is not that of the runs.
    """
    try:
        found = load_suite(reference or name)
        same = found.digest() == digest
    except DoribError:
        if reference is not None:
            raise
        return {}
    if reference is not None and not same:
        raise DoribError(f"meta: the runs are of another {name} than {reference}")
    if not same:
        return {}
    return {s.id: s.duplication for s in found.samples if s.role == "memorized"}


def _require_one_making(runs: Sequence[Results], pools: Pools) -> None:
    """See that values of the runs may be compared.

    Attacks, budgets and stacks are held together where they are looked at: other rows of a
    published board may be by older code.

    Raises:
        DoribError: they differ in suite, in images per sample, in the code or the
            parameters of an attack, in its budgets or in a metric's stack.
    """
    entries = [entry for run in runs for entry in run.entries]
    if not entries:
        raise DoribError("meta: no entry in any of the folders")
    known = {*pools.holding, *pools.lacking}
    seen: dict[str, object] = {}
    for entry in entries:
        making = _making_of_cell(entry) if entry.mitigation.label in known else {}
        for what, value in {**_making_of_run(entry), **making}.items():
            if seen.setdefault(what, value) != value:
                raise DoribError(f"meta: the runs differ in {what}; name runs of one making")


def _making_of_run(entry: Entry) -> dict[str, object]:
    """By what it is, what must not differ between any two entries."""
    return {"suite": entry.suite, "images per sample": entry.k}


def _making_of_cell(entry: Entry) -> dict[str, object]:
    """What must not differ between two whose values are set against each other."""
    attack = entry.attack
    return {
        f"attack {attack.label}": attack.fingerprint,
        f"budgets of {attack.label}": tuple(point.budget for point in entry.curve),
        **{f"the stack of {metric}": stack for metric, stack in entry.stack.items()},
    }
