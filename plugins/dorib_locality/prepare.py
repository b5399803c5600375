"""From options to what is compared: checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dorib.contracts.specs import MethodSpec
from dorib.errors import DoribError
from dorib.host.configure import NONE, Configured, configure, configure_all
from dorib.host.registry import Registry
from dorib.ranking.observations import REPLICATES
from dorib.reporting import Reporter
from dorib.store.store import Store
from dorib.suites.manifest import Profile
from dorib.suites.suite import Suite, load_suite
from dorib.verbs.context import RunContext
from dorib_locality.config import LocalityConfig


@dataclass(frozen=True)
class Study:
    """What is asked, resolved."""

    context: RunContext
    config: LocalityConfig
    unmitigated: Configured
    attack: Configured
    metric: Configured
    mitigations: Sequence[Configured]


def prepare(config: LocalityConfig, registry: Registry, reporter: Reporter) -> Study:
    """Look everything up and check that it can be compared.

    Raises:
        DoribError: something the user can mend.
    """
    suite = load_suite(config.suite, registry)
    profile = _profile(suite, config)
    store = Store(config.out / "store", reporter.note)
    context = RunContext(suite, config, profile, store, reporter, registry=registry)
    attack = configure(registry, "attack", config.attack[0])
    if not attack.attack.searches:
        raise DoribError(
            f"attack {attack.label}: searches nothing, so that all its starts are one; name one "
            "that does, for example dori:start=random"
        )
    mitigations = configure_all(registry, "mitigation", config.mitigation)
    for mitigation in mitigations:
        if mitigation.mitigation.scope != "per_sample":
            raise DoribError(
                f"mitigation {mitigation.label}: one edit for all prompts is no pick for a "
                "trigger; ask for scope=per_sample, or leave it out"
            )
    metrics = configure_all(registry, "metric", config.metric)
    judging = [metric for metric in metrics if REPLICATES in metric.metric.quantities]
    if not judging:
        raise DoribError(
            "metric: none tells whether an image replicates, which a successful trigger is known "
            "by; name sscd"
        )
    if len(context.model.encode_prompt([""])) > 1:
        raise DoribError(
            f"suite {suite.name}: its model is conditioned on the embeddings of two text encoders "
            "(SDXL); locality compares those of one, so choose a suite of Stable Diffusion 1.x or "
            "2.x"
        )
    if len(context.memorized) < 2:
        raise DoribError(
            f"suite {suite.name}: {len(context.memorized)} memorized sample; images are compared "
            "with each other, so raise --limit or choose a --split with at least two"
        )
    for subject in context.memorized:
        context.originals(subject)
    unmitigated = configure(registry, "mitigation", MethodSpec(name=NONE))
    return Study(context, config, unmitigated, attack, judging[0], mitigations)


def _profile(suite: Suite, config: LocalityConfig) -> Profile:
    profile = suite.manifest.full if config.full else suite.manifest.quick
    asked = {"seeds": config.seeds, "budgets": config.budgets}
    return profile.model_copy(update={n: v for n, v in asked.items() if v is not None})
