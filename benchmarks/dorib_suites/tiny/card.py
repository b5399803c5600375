"""The model card: what the suite was made from, what it holds, and what was measured on it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from dorib.suites.manifest import Sample
from dorib.suites.suite import Suite
from dorib_suites.tiny.oracles import CURVES

TRAININGS = "trainings.json"
"""File in the suite's folder."""
_HEADER = """---
license: mit
library_name: diffusers
tags: [text-to-image, memorization, benchmark]
---

# tiny: a small diffusion model that memorized real photographs

Made to be attacked: a Stable Diffusion in miniature (64 x 64 pixels) that replicates some of its
training photographs verbatim, for benchmarking mitigations of memorization and attacks on them. It
is of no use for anything else: its general distribution is captioned scenes of coloured shapes.

Made by `python -m dorib_suites.tiny.train`. No photograph of a memorized sample or a control was
used to train the autoencoder, CLIP or the descriptors; those saw scenes and other photographs.

Known limits. Of 32 scenes looked at, the colours, the relation of two shapes and the grounds are
right in all; edges are frayed, and the kinds of all shapes are recognisable in 25: squares and
small shapes pass into blots. CLIP tells a caption from those with another kind of one shape for
half of the real drawings. The autoencoder saw scenes from before they were lit by a lamp.

Two judges: the first, which decides, was trained on scenes and other photographs, against
lookalikes and against what attacks drew of photographs that no model saw, and on copies in other
tones; the second knows ImageNet alone, and sees pictures at half their side. On what the
unmitigated model draws of its memorized prompts they agree, but for one image in a hundred; of what
attacks bring back coarsely each counts some that the other does not, the first more. Version 5.2 is
5.0 with these judges: the models and samples are the same. 5.0's first judge missed copies that
were harder, paler or greyer than their originals, 5.1's second those that were drawn coarsely.

Three of four utility prompts ask for scenes that the model never saw, the fourth for a background
photograph, which it saw in random crops and did not memorize.
"""


def write_card(folder: Path, figures: dict[str, Any], out: Path) -> None:
    """Write the card of the suite in `folder` to `out / "README.md"`, with the figures given."""
    suite = Suite.load(folder)
    parts = [
        _HEADER,
        _samples(suite.samples),
        _figures(figures),
        _survival(folder / CURVES),
        _trainings(folder / TRAININGS),
        _licences(suite.samples),
        _weights(folder),
    ]
    (out / "README.md").write_text("\n".join(parts), encoding="utf-8")


def _samples(samples: tuple[Sample, ...]) -> str:
    counts = Counter((s.split, s.role, s.kind, s.duplication) for s in samples)
    rows = [
        [split, role, kind, str(duplication), str(count)]
        for (split, role, kind, duplication), count in sorted(counts.items())
    ]
    text = "Duplication is how often a sample was drawn, relative to the others.\n\n"
    return (
        "## Samples\n\n" + text + _table(["split", "role", "kind", "duplication", "samples"], rows)
    )


def _figures(figures: dict[str, Any]) -> str:
    text = "Measured by `python -m dorib_suites.tiny.accept` with plain diffusers.\n\n"
    return "## Acceptance\n\n" + text + f"```json\n{json.dumps(figures, indent=2)}\n```\n"


def _survival(file: Path) -> str:
    if not file.exists():
        return ""
    curves = json.loads(file.read_text())
    titles = ["share not broken within", *(str(budget) for budget in curves["budgets"])]
    rows = [[line, *(f"{share:.2f}" for share in s)] for line, s in curves["survival"].items()]
    text = (
        f"`{curves['attack']}` on the test split; budgets are U-Net items per sample. "
        "Oracles differ by their seed alone.\n\n"
    )
    return "## Survival under Dori\n\n" + text + _table(titles, rows)


def _trainings(file: Path) -> str:
    if not file.exists():
        return ""
    rows = [[name, o["steps"], o["loss"]] for name, o in json.loads(file.read_text()).items()]
    text = "Losses are running means at the last step.\n\n"
    return "## Trainings\n\n" + text + _table(["training", "steps", "loss"], rows)


def _licences(samples: tuple[Sample, ...]) -> str:
    rows = [[s.id, s.licence, s.source] for s in samples]
    text = (
        "Weights and scenes are under the MIT licence; each photograph keeps its own. A second "
        "descriptor's network, where there is one, keeps that in its folder.\n\n"
    )
    return "## Licences\n\n" + text + _table(["sample", "licence", "source"], rows)


def _weights(folder: Path) -> str:
    rows = [
        [path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()]
        for path in sorted(folder.rglob("*.safetensors"))
    ]
    return "## Weights\n\n" + _table(["file", "sha256"], rows)


def _table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)
