"""The suite that is written: the source's settings, with the cliques' images as originals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor

from dorib import Suite
from dorib_cliques.cliques_config import CliquesConfig

IMAGES, GENERAL = "images", "general"
NAME_LENGTH = 64


@dataclass(frozen=True)
class Found:
    """One sample's clique."""

    original: Path
    """Its most typical member."""
    clique: tuple[int, ...]
    """Numbers of the images that are all alike."""
    images: int
    """How many were drawn."""


def write_picture(image: Tensor, path: Path) -> None:
    """Write `[3, height, width]` in [0, 1] as an 8-bit PNG."""
    pixels = (image.float().clamp(0, 1) * 255).round().to(torch.uint8)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path, format="PNG")


def read_picture(path: Path) -> Tensor:
    """`[3, height, width]`, float32 in [0, 1], of a picture that `write_picture` wrote."""
    with Image.open(path) as picture:
        return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)


def write_suite(
    suite: Suite,
    config: CliquesConfig,
    asked: Mapping[str, str],
    found: Mapping[str, Found],
    clusters: Mapping[str, str],
) -> None:
    """Write a suite folder that stands by itself, as a whole or not at all.

    `asked` are the memorized samples that cliques were looked for of; controls are taken over with
    their originals.
    """
    new = config.to.with_name(f".{config.to.name}-unfinished")
    shutil.rmtree(new, ignore_errors=True)
    (new / IMAGES).mkdir(parents=True)
    rows = []
    splits = {sample.id: sample.split for sample in suite.samples}
    for sample in suite.samples:
        row = sample.model_dump(mode="json", exclude={"urls"}) | {"images": []}
        if sample.role == "control":
            row["images"] = [
                _copied(path, new, f"{IMAGES}/{sample.id}-{number}{path.suffix}")
                for number, path in enumerate(suite.originals(sample))
            ]
        elif sample.id not in asked:
            continue
        elif sample.id in found:
            clique = found[sample.id]
            name = f"{IMAGES}/{sample.id}.png"
            shutil.copyfile(clique.original, new / name)
            row |= {
                "images": [name],
                "cluster": clusters[sample.id],
                # One picture must not be tuned on and reported.
                "split": splits[clusters[sample.id]],
                "source": f"clique of {len(clique.clique)} in {clique.images} of the model's own "
                "images",
            }
        rows.append(row)
    _write_rows(new / "samples.jsonl", rows)
    utility = [{"caption": p.caption, "kind": p.kind} for p in suite.utility_prompts]
    _write_rows(new / "utility.jsonl", utility)
    _write_rows(new / "general.jsonl", _general(suite, new))
    (new / "suite.yaml").write_text(yaml.safe_dump(_manifest(suite), sort_keys=False))
    new.rename(config.to)


def _general(suite: Suite, new: Path) -> Iterable[dict[str, Any]]:
    images = iter(suite.general_images)
    for number, prompt in enumerate(suite.general_prompts):
        row = {"caption": prompt.caption, "kind": prompt.kind}
        if prompt.image:
            _, path = next(images)
            row["image"] = _copied(path, new, f"{GENERAL}/{number:05d}{path.suffix}")
        yield row


def _manifest(suite: Suite) -> dict[str, Any]:
    """The source's, its components named by absolute paths; nothing is left to fetch."""
    manifest = suite.manifest.model_dump(mode="json", exclude_none=True, exclude={"fetch"})
    name = f"{suite.name[: NAME_LENGTH - len('-cliques')]}-cliques"
    manifest |= {
        "name": name,
        "title": f"{suite.manifest.title} (originals: cliques of the model's own images)".strip(),
        "samples": "samples.jsonl",
        "utility": "utility.jsonl",
        "general": "general.jsonl",
    }
    for component in ("pipeline", "pipeline_config", "oracle", "clip"):
        if component in manifest:
            manifest[component] = _place(suite, manifest[component])
    descriptor = manifest.get("descriptor", {})
    if "path" in descriptor:
        descriptor["path"] = _place(suite, descriptor["path"])
    return manifest


def _place(suite: Suite, reference: str) -> str:
    found = Path(suite.component(reference))
    return str(found.resolve()) if found.exists() else reference


def _copied(path: Path, new: Path, name: str) -> str:
    (new / name).parent.mkdir(exist_ok=True)
    shutil.copyfile(path, new / name)
    return name


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    lines = (json.dumps({k: v for k, v in row.items() if v is not None}) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines))
