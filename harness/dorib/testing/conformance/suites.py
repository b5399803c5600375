"""What a suite lacks: a look at its samples, and the shortest run on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dorib.config import make_config
from dorib.errors import DoribError
from dorib.host.registry import Registry
from dorib.runner import run
from dorib.suites.suite import Suite, load_suite


def flaws_of_suite(reference: str, registry: Registry, out: Path) -> Iterator[str]:
    """What keeps results on a suite from being trusted, each in words that follow its name.

    Raises:
        DoribError: it cannot be read.
    """
    suite = load_suite(reference, registry)
    for split in sorted({sample.split for sample in suite.samples}):
        yield from _of_split(suite, split)
    captions = {sample.caption for sample in suite.samples}
    for table, prompts in (
        ("utility", [prompt.caption for prompt in suite.utility_prompts]),
        ("general", list(suite.general_captions)),
    ):
        for caption in prompts:
            if caption in captions:
                yield f"asks in {table} for the caption of a sample, {caption!r}: take another"
    yield from _of_run(reference, registry, out)


def _of_split(suite: Suite, split: str) -> Iterator[str]:
    roles: dict[str, int] = {"memorized": 0, "control": 0}
    for sample in suite.split(split):
        roles[sample.role] += 1
        if not suite.originals(sample):
            yield f"has no original image of sample {sample.id}, which no run can score"
    if not roles["control"]:
        yield f"has no controls in the split {split}: give images that the model never saw"


def _of_run(reference: str, registry: Registry, out: Path) -> Iterator[str]:
    options = {"suite": reference, "limit": 1, "seeds": 1, "out": str(out), "metric": ["clip"]}
    try:
        result = run(make_config({**options, "split": _split(reference, registry)}), registry)
    except DoribError as error:
        yield f"cannot be run: {error}"
        return
    yield from result.failed


def _split(reference: str, registry: Registry) -> str:
    splits = sorted({sample.split for sample in load_suite(reference, registry).samples})
    return "test" if "test" in splits else splits[0]
