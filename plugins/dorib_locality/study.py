"""One `dorib locality`: gather, record, pick, analyse, write."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dorib import (
    DoribError,
    Registry,
    Reporter,
    Session,
    library_versions,
    named_write_errors,
    require_figures,
    write_text,
)
from dorib_locality import activations, figure_files, page
from dorib_locality.agreement import MethodTable, agreement
from dorib_locality.agreement_of_methods import agreement_of_methods
from dorib_locality.discrepancy import discrepancies
from dorib_locality.embedding_space import Embedded, embedding_space
from dorib_locality.findings import Analysis, Findings, Selection, TriggerFacts, Weights
from dorib_locality.gather import FoundTrigger, gather
from dorib_locality.geometry import Floats, Indices
from dorib_locality.locality_config import LocalityConfig
from dorib_locality.pick_tables import pick_tables
from dorib_locality.prepare import Study, prepare


@dataclass(frozen=True)
class LocalityResult:
    """What a study leaves behind."""

    findings: Findings
    folder: Path
    json: Path
    page: Path


def study(
    config: LocalityConfig, registry: Registry | None = None, reporter: Reporter | None = None
) -> LocalityResult:
    """Compare the triggers of each memorized image, and write what came out.

    Triggers, images and picks are taken from the store of `config.out`, and made where they are
    missing.

    Args:
        config: what is asked.
        registry: where names are looked up (None: what is installed).
        reporter: hears of each verb that has work to do (None: nobody does).

    Raises:
        DoribError: something the user can mend; raised before any work where it can be known.
    """
    started = time.monotonic()
    require_figures("locality")
    this = prepare(config, registry, reporter)
    this.session.prepare(this.metric)
    gathered = gather(this.session, this.unmitigated, this.attack, this.metric, config.starts)
    found = gathered.triggers
    if not found:
        reason = next(iter(gathered.failures.values()), "no sample")
        raise DoribError(f"attack {this.attack.label}: no search ended well ({reason}); mend it")
    tables, failures = pick_tables(this, found)
    analyses = _analyses(this, found, tables)
    result = _findings(this, found, {**gathered.failures, **failures}, analyses, started)
    return _write(this, result)


def _analyses(
    this: Study, found: Sequence[FoundTrigger], tables: Sequence[MethodTable]
) -> tuple[Analysis | None, Analysis]:
    session, config = this.session, this.config
    seeds = session.seeds.child("locality")
    captions = {trigger.subject.id: trigger.subject.caption for trigger in found}
    prompts = session.model.encode_prompt(list(captions.values()))["prompt_embeds"]
    random_prompts = _random_prompts(session, len(found))
    triggers = torch.stack([trigger.embedding for trigger in found])
    points = [trigger.starting_point for trigger in found]
    told = [point for point in points if point is not None]
    embedded = Embedded(
        tokens=triggers.shape[1],
        width=triggers.shape[2],
        triggers=_flat(triggers),
        starting_points=_flat(torch.stack(told)) if len(told) == len(found) else None,
        prompts=dict(zip(captions, _flat(prompts), strict=True)),
        random_prompts=_flat(random_prompts),
    )
    everything = torch.cat([triggers, random_prompts])
    total = len(everything) * config.noises
    with session.reporter.verb("record", "activations of triggers and prompts", total) as advance:
        recording = activations.record(
            session.model, everything, config.noises, config.timesteps, config.reduction,
            session.batch_size, seeds, advance,
        )  # fmt: skip
    others = np.arange(len(found), len(everything))

    def analyse(selection: Selection, chosen: Indices) -> Analysis:
        # Each analysis draws from its own generator, so that one does not move another.
        def rng(name: str) -> np.random.Generator:
            return np.random.default_rng(seeds.integer(selection, name))

        labels = [found[i].subject.id for i in chosen]
        starts = [found[i].start for i in chosen]
        weights = Weights(
            methods=tuple(agreement(t, chosen, labels, rng(t.mitigation)) for t in tables),
            pairs=tuple(
                agreement_of_methods(a, b, chosen, labels, rng(f"{a.mitigation} {b.mitigation}"))
                for a, b in combinations(tables, 2)
            ),
        )
        return Analysis(
            selection=selection,
            triggers=len(chosen),
            images=len(set(labels)),
            embedding_space=embedding_space(
                embedded, chosen, labels, starts, rng("embedding space")
            ),
            activations=discrepancies(
                recording, config.reduction, chosen, labels, others, rng("activations")
            ),
            weights=weights if tables else None,
        )

    successful = np.array([i for i, trigger in enumerate(found) if trigger.replicates], np.int64)
    each = Counter(found[i].subject.id for i in successful)
    enough = sum(count >= 2 for count in each.values()) >= 2
    return (
        analyse("successful", successful) if enough else None,
        analyse("all", np.arange(len(found))),
    )


def _random_prompts(session: Session, count: int) -> Tensor:
    """Embeddings of general captions drawn by lot, at most `count`: float32 on the CPU."""
    captions = list(dict.fromkeys(session.suite.general_captions))
    generator = session.seeds.child("locality").generator("random prompts")
    order = torch.randperm(len(captions), generator=generator).tolist()[:count]
    encoded = session.model.encode_prompt([captions[i] for i in order])["prompt_embeds"]
    return encoded.float().cpu()


def _flat(embeddings: Tensor) -> Floats:
    flat: Floats = embeddings.double().cpu().flatten(1).numpy()
    return flat


def _findings(
    this: Study,
    found: Sequence[FoundTrigger],
    failures: dict[str, str],
    analyses: tuple[Analysis | None, Analysis],
    started: float,
) -> Findings:
    session, config = this.session, this.config
    successful, everything = analyses
    return Findings(
        suite=session.suite.name,
        suite_version=session.suite.manifest.version,
        split=config.split,
        attack=this.attack.label,
        attack_params=this.attack.params,
        mitigations=tuple(method.label for method in this.mitigations),
        budget=session.profile.budgets[-1],
        starts=config.starts,
        evaluation_images=len(session.evaluation_seeds),
        root_seed=config.root_seed,
        dtype=session.dtype,
        device=session.device.type,
        dorib_version=version("dorib"),
        libraries=library_versions(),
        triggers=tuple(
            TriggerFacts(
                sample=trigger.subject.id,
                start=trigger.start,
                replicates=trigger.replicates,
                loss=trigger.trigger.loss,
                work=trigger.trigger.work,
                digest=trigger.digest,
            )
            for trigger in found
        ),
        failures=failures,
        successful=successful,
        all=everything,
        seconds=round(time.monotonic() - started, 1),
    )


def _write(this: Study, result: Findings) -> LocalityResult:
    folder = this.config.out / "locality" / this.attack.slug
    with named_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "locality.json", result.model_dump_json(indent=1) + "\n")
        drawn = figure_files.draw(result, folder)
        write_text(folder / "index.html", page.render(result, drawn))
    return LocalityResult(result, folder, folder / "locality.json", folder / "index.html")
