"""From a model and pictures to an answer: a suite is made of them, and run like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from dorib.audit.answer import Answer, judge_in_words
from dorib.audit.findings import Findings, findings
from dorib.audit.models import Audited, find_model, native_size
from dorib.audit.page import write_answer
from dorib.audit.pictures import read_pictures
from dorib.audit.suite import SUITE, Asked, drawn_controls, refuse_shared, write_suite
from dorib.config import RunConfig, make_config
from dorib.contracts.methods import REPLICATES
from dorib.contracts.seeds import Seeds
from dorib.contracts.suite_view import MOST_STEPS, SamplingSettings
from dorib.errors import DoribError
from dorib.host.configure import NONE, configure, configure_all
from dorib.host.registry import Registry
from dorib.ranking.leaderboard import LEADERBOARD_FILE
from dorib.ranking.records import read_records
from dorib.report.figures import require_figures
from dorib.report.run_result import RunResult
from dorib.reporting import Reporter
from dorib.store.files import remove
from dorib.suites.suite import Suite, load_suite
from dorib.validation import StrictModel, checked
from dorib.workers.start import run_shared

OUT = Path("dorib-audit")
STEPS, GUIDANCE = 50, 7.5
"""Of Stable Diffusion's pipelines, where no suite states any."""


class Audit(StrictModel):
    """What `dorib audit` is asked."""

    model: str = Field(min_length=1)
    images: Path
    captions: Path | None = None
    """None: `metadata.jsonl` among the images."""
    original: str | None = Field(default=None, min_length=1)
    controls: Path | None = None
    """With a `metadata.jsonl`; None: the suite's."""
    suite: str | None = None
    """Gives judge, sampling settings, prompts, controls and profiles; None: the model's own, where
    it is a registered suite."""
    size: tuple[int, int] | None = None
    """Height and width, in pixels."""
    steps: int | None = Field(default=None, gt=0, le=MOST_STEPS)
    guidance_scale: float | None = Field(default=None, ge=0)

    @field_validator("size", mode="before")
    @classmethod
    def _sides(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        sides = value.lower().split("x")
        if not 1 <= len(sides) <= 2 or not all(s.isdecimal() and int(s) > 0 for s in sides):
            raise ValueError("a size is PIXELS or HEIGHTxWIDTH, for example 512 or 512x768")
        return int(sides[0]), int(sides[-1])


@dataclass(frozen=True)
class Audition:
    """An audit that has ended."""

    answer: Answer
    page: Path
    result: RunResult


def audit(
    options: Mapping[str, Any],
    registry: Registry,
    reporter: Reporter | None = None,
    plugins: Sequence[Path] = (),
) -> Audition:
    """Look for pictures in a model: by their captions, by attacks, and by probes.

    Args:
        options: those of `Audit`, and those of a run that say how: profile, attacks, device, ...
        registry: where names are looked up.
        reporter: hears of the progress.
        plugins: the files among the registry's plugins.

    Raises:
        DoribError: something the user can mend; raised before any work where it can be known.
    """
    require_figures("audit")
    own = {name: value for name, value in options.items() if name in Audit.model_fields}
    others = {name: value for name, value in options.items() if name not in own}
    asked = checked(Audit, own, "command line", names="options")
    config = make_config({"out": OUT, "attack": ["required"], "probe": ["all"], **others})
    audited = find_model(asked.model, asked.original, registry)
    like = load_suite(asked.suite, registry) if asked.suite else audited.suite
    metrics = _judges(others.get("metric"), like, registry)
    is_new = not (config.out / SUITE).exists()
    suite = write_suite(_collected(asked, audited, like, config), config.out / SUITE)
    config = config.model_copy(
        update={"suite": str(suite), "mitigation": (audited.mitigation,), "metric": metrics}
    )
    try:
        result = run_shared(config, registry, reporter, plugins)
    except DoribError:
        if is_new and not (config.out / LEADERBOARD_FILE).exists():
            # The next attempt writes it anew, whatever it asks.
            remove(suite)
        raise
    answer = _answer(asked, audited, like, config, registry, result)
    return Audition(answer, write_answer(answer, config.out, result.entries), result)


def _judges(metrics: Any, like: Suite | None, registry: Registry) -> tuple[Any, ...]:
    """The metrics of the run, one of which says what a copy is.

    Raises:
        DoribError: none does.
    """
    if metrics is None and (like is None or like.descriptor is None):
        raise DoribError(
            "no judge of what a copy is: name one by --metric, for example "
            "sscd:backend=torchscript (the official weights), or a suite that has one by --suite"
        )
    specs = make_config({"metric": metrics or ["sscd"]}).metric
    judges = configure_all(registry, "metric", specs)
    if not any(REPLICATES in judge.metric.quantities for judge in judges):
        raise DoribError(
            f"--metric {', '.join(judge.label for judge in judges)}: says nothing of copies; name "
            "sscd beside it"
        )
    return specs


def _collected(asked: Audit, audited: Audited, like: Suite | None, config: RunConfig) -> Asked:
    sampling = _sampling(asked, audited, like)
    size = sampling.height, sampling.width
    orientation = like.manifest.orientation if like else "apply"
    pictures = read_pictures(asked.images, asked.captions, size, orientation)
    if asked.controls is not None:
        controls = read_pictures(asked.controls, None, size, orientation)
        refuse_shared(pictures, controls)
    else:
        controls = drawn_controls(like, pictures, config.full, Seeds(config.root_seed))
    return Asked(audited, like, sampling, pictures, controls)


def _sampling(asked: Audit, audited: Audited, like: Suite | None) -> SamplingSettings:
    size = asked.size
    if like is not None:
        own = like.sampling
        size = size or (own.height, own.width)
        steps, guidance = own.steps, own.guidance_scale
    else:
        size = size or native_size(audited.pipeline)
        steps, guidance = STEPS, GUIDANCE
    return SamplingSettings(
        height=size[0],
        width=size[1],
        steps=asked.steps or steps,
        guidance_scale=guidance if asked.guidance_scale is None else asked.guidance_scale,
    )


def _answer(
    asked: Audit,
    audited: Audited,
    like: Suite | None,
    config: RunConfig,
    registry: Registry,
    result: RunResult,
) -> Answer:
    label = configure(registry, "mitigation", audited.mitigation).label

    def found(label: str) -> Findings:
        cells = [entry for entry in result.entries if entry.mitigation.label == label]
        return findings(label, cells, read_records(result.records))

    own = found(label)
    return Answer(
        model=asked.model,
        original=asked.original,
        found=own,
        in_original=found(NONE) if asked.original is not None else None,
        judge=judge_in_words(result.entries),
        k=result.entries[0].k,
        attacks=tuple(dict.fromkeys(entry.attack.label for entry in result.entries)),
        controls_from=_controls_from(asked, like) if own.controls else None,
        failed=result.failed,
    )


def _controls_from(asked: Audit, like: Suite | None) -> str:
    if asked.controls is not None:
        return f"given in {asked.controls}"
    assert like is not None
    return f"drawn from those of suite {like.reference}"
