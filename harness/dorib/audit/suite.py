"""The suite of an audit: the user's pictures, controls beside them, and a judge."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dorib.audit.captions import GENERAL_CAPTIONS
from dorib.audit.models import Audited, place
from dorib.audit.pictures import Picture
from dorib.contracts.seeds import Seeds
from dorib.contracts.suite_view import SamplingSettings
from dorib.errors import DoribError
from dorib.ranking.leaderboard import LEADERBOARD_FILE
from dorib.store.files import named_write_errors, whole_file
from dorib.suites.manifest import Manifest, Profile
from dorib.suites.suite import Suite

SUITE = "audit-suite"
"""The folder of it, in that of the audit."""
QUICK = Profile(seeds=2, budgets=(300, 1200), utility=2)
FULL = Profile(seeds=4, budgets=(300, 600, 1200, 2400), utility=2)
"""Where no suite states any. 1200 U-Net items are 50 steps of Dori's defaults."""
BATCH = 8
REQUIRED = ("none", "dori", "dori:start=other", "dori:start=random", "transfer", "evolution")
"""As the suites that ship rank by: gradients from three starts, old triggers, and no gradients."""
TRANSFER = "transfer"
"""Replays triggers of the original, so it takes one."""


@dataclass(frozen=True)
class Asked:
    """What a suite is made of."""

    audited: Audited
    like: Suite | None
    """Gives judge, prompts, profiles and required attacks; None where the user names a judge."""
    sampling: SamplingSettings
    pictures: tuple[Picture, ...]
    controls: tuple[Picture, ...]


def drawn_controls(
    like: Suite | None, pictures: Sequence[Picture], full: bool, seeds: Seeds
) -> tuple[Picture, ...]:
    """Controls of a suite, drawn by seed: as many as its profile takes, none of `pictures`.

    Raises:
        DoribError: the suite's table or one of its controls cannot be read.
    """
    if like is None:
        return ()
    audited = {picture.digest for picture in pictures}
    names = {picture.id.casefold() for picture in pictures}
    found = []
    for sample in like.samples:
        originals = like.originals(sample) if sample.role == "control" else ()
        if originals:
            control = Picture(sample.id, sample.caption, originals[0])
            if control.digest not in audited and control.id.casefold() not in names:
                found.append(control)
    order = seeds.child("controls of an audit")
    found.sort(key=lambda control: order.integer(control.id))
    return tuple(found[: None if full else like.manifest.quick.controls])


def refuse_shared(pictures: Sequence[Picture], controls: Sequence[Picture]) -> None:
    """See that no picture is its own control, and no two of them have one name.

    Raises:
        DoribError: one is, or has.
    """
    by_digest = {picture.digest: picture for picture in pictures}
    by_name = {picture.id.casefold(): picture for picture in pictures}
    for control in controls:
        same = by_digest.get(control.digest)
        if same is not None:
            raise DoribError(
                f"{control.path}: is the audited picture {same.path}; a control is a picture that "
                "the model never saw"
            )
        if control.id.casefold() in by_name:
            raise DoribError(
                f"{control.path}: is called {control.id}, as an audited picture is; rename one"
            )


def write_suite(asked: Asked, folder: Path) -> Path:
    """Write the suite's folder, in place of that of an audit that has found nothing yet.

    Raises:
        DoribError: findings of another one are there, or the disk is full or not writable.
    """
    texts = {
        "samples.jsonl": _lines(_rows(asked)),
        "utility.jsonl": _lines({"caption": caption} for caption in _utility(asked)),
        "general.jsonl": _lines({"caption": caption} for caption in _general(asked)),
        "suite.yaml": yaml.safe_dump(_manifest(asked), sort_keys=False),
    }
    content = {name: text.encode() for name, text in texts.items()}
    images = {_file(one): one.path for one in (*asked.pictures, *asked.controls)}
    if (folder.parent / LEADERBOARD_FILE).exists() and not _is_same(folder, content, images):
        raise DoribError(
            f"{folder.parent}: holds findings of other pictures, captions, controls or settings; "
            "give another --out"
        )
    with named_write_errors(folder.parent):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        # The manifest last: with it the folder is a suite.
        files = {name: path.read_bytes() for name, path in images.items()} | content
        for name, data in files.items():
            with whole_file(folder / name) as temporary:
                temporary.write_bytes(data)
    return folder


def _is_same(folder: Path, content: Mapping[str, bytes], images: Mapping[str, Path]) -> bool:
    wanted = {**content, **{name: path.read_bytes() for name, path in images.items()}}
    return all((folder / n).is_file() and (folder / n).read_bytes() == b for n, b in wanted.items())


def _rows(asked: Asked) -> Iterable[Mapping[str, Any]]:
    # Copies of one file are one photograph.
    first: dict[str, str] = {}
    for role, pictures in (("memorized", asked.pictures), ("control", asked.controls)):
        for one in pictures:
            yield {
                "id": one.id,
                "caption": one.caption,
                "images": [_file(one)],
                "role": role,
                "cluster": first.setdefault(one.digest, one.id),
            }


def _file(picture: Picture) -> str:
    return f"images/{picture.id}{picture.path.suffix.casefold()}"


def _utility(asked: Asked) -> Sequence[str]:
    if asked.like is None:
        return GENERAL_CAPTIONS
    return [prompt.caption for prompt in asked.like.utility_prompts]


def _general(asked: Asked) -> Sequence[str]:
    return GENERAL_CAPTIONS if asked.like is None else asked.like.general_captions


def _manifest(asked: Asked) -> dict[str, Any]:
    audited, like = asked.audited, asked.like
    of_suite = _of_suite(like) if like else {"batch_size": BATCH}
    quick, full = (like.manifest.quick, like.manifest.full) if like else (QUICK, FULL)
    required = (like.manifest.required_attacks if like else ()) or REQUIRED
    everything = {"memorized": None, "controls": None}
    manifest = Manifest.model_validate(
        {
            "name": "audit",
            "version": "1",
            "title": "Pictures that a model is asked about",
            "pipeline": audited.pipeline,
            "pipeline_config": audited.pipeline_config,
            "sampling": asked.sampling,
            "quick": quick.model_copy(update=everything),
            "full": full.model_copy(update=everything),
            "required_attacks": [
                attack
                for attack in required
                if attack != TRANSFER or audited.mitigation.name == "checkpoint"
            ],
            **of_suite,
        }
    )
    return manifest.model_dump(mode="json", exclude_none=True, exclude_defaults=True)


def _of_suite(like: Suite) -> dict[str, Any]:
    """Its judges, by their absolute paths, and how it reads pictures."""
    manifest = like.manifest
    found: dict[str, Any] = {
        "batch_size": manifest.batch_size,
        "orientation": manifest.orientation,
        "clip": place(like, manifest.clip) if manifest.clip else None,
    }
    judges = {"descriptor": like.descriptor, "second_descriptor": like.second_descriptor}
    for name, judge in judges.items():
        if judge is not None and judge.path is not None:
            judge = judge.model_copy(update={"path": place(like, judge.path)})
        found[name] = judge
    return found


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
