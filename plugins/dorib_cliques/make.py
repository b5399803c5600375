"""Drawing, comparing, and the suite that comes of it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dorib import (
    REPLICATES,
    Configured,
    DoribError,
    Generation,
    Metric,
    Registry,
    Reporter,
    Session,
    Shelf,
    Suite,
    digest,
    load_suite,
    write_text,
)
from dorib_cliques.cliques_config import EVERY_SPLIT, CliquesConfig
from dorib_cliques.graph import Adjacency, clique_of, component_of, most_typical
from dorib_cliques.suite_folder import Found, read_picture, write_picture, write_suite

MADE = "clique.json"
ORIGINAL = "original.png"


@dataclass(frozen=True)
class Made:
    """What came out."""

    folder: Path
    samples: int
    """Memorized samples that were asked for."""
    found: int
    """Of them, those that have a clique."""
    clusters: int
    """Distinct pictures among the cliques' originals."""


def make(
    config: CliquesConfig, registry: Registry | None = None, reporter: Reporter | None = None
) -> Made:
    """Find each sample's clique, or find it stored, and write the suite.

    Raises:
        DoribError: the folder is there already, the metric tells of no replication, no sample is
            asked for, or none has a clique.
    """
    if os.path.lexists(config.to):
        raise DoribError(f"{config.to}: it is there already; name a new folder by --to")
    # Before the drawing, which takes long, and not after it.
    config.to.parent.mkdir(parents=True, exist_ok=True)
    samples = _asked(load_suite(config.suite, registry), config)
    # A session is of one split; which one makes no difference to what is drawn.
    of_one_split = config.model_copy(update={"split": samples[0].split})
    session = Session.open(of_one_split, registry, reporter)
    method = _judge(session, config)
    asked = {sample.id: sample.caption for sample in samples}
    session.prepare(method)
    shelf = session.store.shelf("images", _key(session, config, method))
    found: dict[str, Found] = {}
    label = f"{config.images} images of each prompt"
    with session.reporter.verb("draw", label, len(asked)) as advance:
        for sample, caption in asked.items():
            item = f"{sample}-{digest(caption)[:12]}"
            if item not in shelf:
                images = _draw(session, sample, caption, config.images)
                _keep(shelf, item, images, _alike(method.metric, sample, images))
            kept = _kept(shelf, item)
            if len(kept.clique) >= config.smallest:
                found[sample] = kept
            advance(1)
    if not found:
        raise DoribError(
            f"suite {session.suite.name}: no prompt gives {config.smallest} images that are alike "
            f"in {config.images}; raise --images, or lower --smallest"
        )
    clusters = _clusters(method.metric, found)
    write_suite(session.suite, config, asked, found, clusters)
    return Made(config.to, len(asked), len(found), len(set(clusters.values())))


def _judge(session: Session, config: CliquesConfig) -> Configured:
    metrics = session.configure_all("metric", config.metric)
    judging = [metric for metric in metrics if REPLICATES in metric.metric.quantities]
    if not judging:
        raise DoribError("metric: none tells whether an image replicates another; name sscd")
    return judging[0]


class _Asked(NamedTuple):
    id: str
    caption: str
    split: str


def _asked(suite: Suite, config: CliquesConfig) -> list[_Asked]:
    """The memorized samples asked for."""
    every = config.split == EVERY_SPLIT
    samples = suite.samples if every else suite.split(config.split)
    memorized = [_Asked(s.id, s.caption, s.split) for s in samples if s.role == "memorized"]
    if not memorized:
        raise DoribError(f"suite {suite.name}: it has no memorized sample; name another")
    return memorized[: config.limit]


def _key(session: Session, config: CliquesConfig, method: Configured) -> dict[str, object]:
    return {
        "model": session.model_key,
        "judge": [method.fingerprint, method.metric.stack()],
        "cliques of": config.images,
    }


def _draw(session: Session, sample: str, caption: str, count: int) -> Tensor:
    """Images `[count, 3, height, width]` of one prompt, from noise that no evaluation uses."""
    model, size = session.model, session.batch_size
    seeds = session.seeds.child("cliques", sample)
    parts = []
    for start in range(0, count, size):
        numbers = range(start, min(start + size, count))
        parts.append(
            model.sample(
                model.encode_prompt([caption] * len(numbers)),
                [seeds.generator(number) for number in numbers],
                torch.zeros(len(numbers), dtype=torch.int64, device=model.device),
            ).cpu()
        )
    return torch.cat(parts)


def _alike(metric: Metric[Any], name: str, images: Tensor) -> Adjacency:
    """Which of `images` replicate each other, as the metric judges an image by its original."""
    alike = np.zeros((len(images), len(images)), dtype=bool)
    for row in range(len(images) - 1):
        later = range(row + 1, len(images))
        generation = Generation(
            sample=f"{name} {row}",
            caption="",
            seeds=tuple(later),
            images=images[row + 1 :],
            originals=images[row : row + 1],
        )
        for value in next(iter(metric.measure([generation]))):
            if value.metric == REPLICATES and value.seed is not None:
                alike[row, value.seed] = alike[value.seed, row] = value.value == 1
    return alike


def _keep(shelf: Shelf, item: str, images: Tensor, alike: Adjacency) -> None:
    clique = clique_of(alike)
    with shelf.batch([item]) as folder:
        (folder / item).mkdir()
        write_picture(images[most_typical(alike, clique)], folder / item / ORIGINAL)
        write_text(folder / item / MADE, json.dumps({"images": len(images), "clique": clique}))


def _kept(shelf: Shelf, item: str) -> Found:
    folder = shelf[item] / item
    made = json.loads((folder / MADE).read_text())
    return Found(folder / ORIGINAL, tuple(made["clique"]), made["images"])


def _clusters(metric: Metric[Any], found: dict[str, Found]) -> dict[str, str]:
    """Samples whose originals are one picture, over any number of steps, are one cluster."""
    names: Sequence[str] = list(found)
    originals = torch.stack([read_picture(found[name].original) for name in names])
    leaders = component_of(_alike(metric, "originals", originals))
    return {name: names[leader] for name, leader in zip(names, leaders, strict=True)}
