"""What is audited, as a run takes it: a pipeline, or a checkpoint beside its original."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dorib.contracts.specs import MethodSpec
from dorib.errors import DoribError
from dorib.host.configure import NONE
from dorib.host.registry import Registry
from dorib.reading import Malformed, parse_json, read_text
from dorib.suites.suite import Suite, load_suite

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
INDEX = "model_index.json"


@dataclass(frozen=True)
class Audited:
    """A model, and what it was made of where that is given."""

    pipeline: str
    """Of the original, where there is one: an absolute path, or a hub id."""
    pipeline_config: str | None
    """For a single file that a registered suite names."""
    mitigation: MethodSpec
    """What makes the audited model of that pipeline; `none` where there is no original."""
    suite: Suite | None
    """The registered suite whose model it is, where it was named so."""


def find_model(model: str, original: str | None, registry: Registry) -> Audited:
    """What MODEL and `--original` name: a registered suite's model, a folder or a hub id.

    Raises:
        DoribError: it is nothing of the kind; or it is no whole pipeline, and no original is given.
    """
    suite = _registered(original or model, registry)
    if suite is not None:
        pipeline, configuration = place(suite, suite.manifest.pipeline), suite.manifest
        config = configuration.pipeline_config and place(suite, configuration.pipeline_config)
    else:
        pipeline, config = _pipeline(original or model, is_original=original is not None), None
    if original is None:
        return Audited(pipeline, config, MethodSpec(name=NONE), suite)
    checkpoint = MethodSpec(name="checkpoint", params={"path": _on_disk(model, registry)})
    return Audited(pipeline, config, checkpoint, suite)


def _registered(name: str, registry: Registry) -> Suite | None:
    known = ("suite", name) in registry.registrations
    return load_suite(name, registry) if known else None


def _pipeline(name: str, *, is_original: bool) -> str:
    path = Path(name)
    whose = "--original " if is_original else ""
    if not path.exists():
        if HUB_ID.fullmatch(name):
            return name
        raise DoribError(
            f"{whose}{name}: no folder, no registered suite and no hub id (owner/name); give one"
        )
    if not (path / INDEX).is_file():
        advice = (
            "give the diffusers folder of the pipeline"
            if is_original
            else "a U-Net, a LoRA or a single file needs --original, the pipeline it was made of"
        )
        raise DoribError(f"{whose}{name}: no diffusers pipeline (no {INDEX} in it); {advice}")
    return str(path.absolute())


def _on_disk(model: str, registry: Registry) -> str:
    """The path of a model that is read beside its original."""
    suite = _registered(model, registry)
    name = place(suite, suite.manifest.pipeline) if suite else model
    if not Path(name).exists():
        raise DoribError(
            f"{model}: no such file or folder; beside --original a model is read from this "
            "machine: give its path"
        )
    return str(Path(name).absolute())


def place(suite: Suite, component: str) -> str:
    """A suite's component by its absolute path, or by its hub id."""
    found = Path(suite.component(component))
    return str(found.absolute()) if found.exists() else component


def native_size(pipeline: str) -> tuple[int, int]:
    """Height and width that a pipeline's folder is made for, in pixels.

    Raises:
        DoribError: it is on the hub, or its configurations do not say.
    """
    folder = Path(pipeline)
    try:
        own: dict[str, Any] = parse_json(read_text(folder / "unet" / "config.json"))
        vae: dict[str, Any] = parse_json(read_text(folder / "vae" / "config.json"))
        latent = own["sample_size"]
        channels = vae.get("block_out_channels") or vae["encoder_block_out_channels"]
        height, width = latent if isinstance(latent, list) else (latent, latent)
        scale = 2 ** (len(channels) - 1)
        height, width = math.trunc(height * scale), math.trunc(width * scale)
    except (OSError, Malformed, LookupError, TypeError, ValueError, AttributeError) as error:
        raise DoribError(
            f"{pipeline}: nothing here says how large its pictures are; give --size, or --suite"
        ) from error
    return height, width
