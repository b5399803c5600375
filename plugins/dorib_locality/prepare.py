"""From options to what is compared: checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dorib import (
    REPLICATES,
    Configured,
    DoribError,
    MethodSpec,
    Registry,
    Reporter,
    Session,
)
from dorib_locality.locality_config import LocalityConfig


@dataclass(frozen=True)
class Study:
    """What is asked, resolved."""

    session: Session
    config: LocalityConfig
    unmitigated: Configured
    attack: Configured
    metric: Configured
    mitigations: Sequence[Configured]


def prepare(
    config: LocalityConfig, registry: Registry | None = None, reporter: Reporter | None = None
) -> Study:
    """Look everything up and check that it can be compared.

    Raises:
        DoribError: something the user can mend.
    """
    session = Session.open(config, registry, reporter)
    attack = session.configure("attack", config.attack[0])
    if not attack.attack.searches:
        raise DoribError(
            f"attack {attack.label}: searches nothing, so that all its starts are one; name one "
            "that does, for example dori:start=random"
        )
    mitigations = session.configure_all("mitigation", config.mitigation)
    for mitigation in mitigations:
        if mitigation.mitigation.scope != "per_sample":
            raise DoribError(
                f"mitigation {mitigation.label}: one edit for all prompts is no pick for a "
                "trigger; ask for scope=per_sample, or leave it out"
            )
    metrics = session.configure_all("metric", config.metric)
    judging = [metric for metric in metrics if REPLICATES in metric.metric.quantities]
    if not judging:
        raise DoribError(
            "metric: none tells whether an image replicates, which a successful trigger is known "
            "by; name sscd"
        )
    if session.model.conditioning != {"prompt_embeds"}:
        raise DoribError(
            f"suite {session.suite.name}: its model is conditioned on the embeddings of two text "
            "encoders (SDXL); locality compares those of one, so choose a suite of Stable "
            "Diffusion 1.x or 2.x"
        )
    if len(session.memorized) < 2:
        raise DoribError(
            f"suite {session.suite.name}: {len(session.memorized)} memorized sample; images are "
            "compared with each other, so raise --limit or choose a --split with at least two"
        )
    for subject in session.memorized:
        session.originals(subject)
    unmitigated = session.configure("mitigation", MethodSpec(name="none"))
    return Study(session, config, unmitigated, attack, judging[0], mitigations)
