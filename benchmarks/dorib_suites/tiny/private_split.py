"""A private split: dealt anew from the samples of `dev` and `test` by a seed that only one holds.

    python -m dorib_suites.tiny.private_split --seed N --to FOLDER

writes a suite of its own, with the same weights: its split `private` holds 16 memorized samples and
16 controls, its `dev` the others of that pool. The model is the published one, so that a private
split hides which of its samples count, and not that it memorized them: half of the pool has
been in `dev`, where everybody tunes. One whose samples nobody has seen takes another model, trained
by the recipe on other photographs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from dorib.errors import DoribError
from dorib.reading import read_jsonl
from dorib.store.files import named_write_errors, whole_folder
from dorib.suites.suite import Suite, load_suite
from dorib_suites.tiny.deal import deal
from dorib_suites.tiny.prompts import write_lines

POOL = ("dev", "test")
"""The splits that are dealt anew: whole photographs, drawn as often as each other."""
PRIVATE = "private"
EACH = 16
"""Samples of either role."""
_LEFT_OUT = ("README.md", "earlier", "trainings.json")
"""Of the shipped folder: what tells of the suite as it is published."""


def dealt_anew(suite: Suite, seed: int, each: int = EACH) -> dict[str, str]:
    """By id, the split of every sample of the pool: `private` for `each` of either role.

    Raises:
        DoribError: there are too few of a role, or a number is none.
    """
    if seed < 0:
        raise DoribError(f"--seed {seed}: give a whole number from 0")
    if each < 1:
        raise DoribError(f"--each {each}: give a whole number from 1")
    splits: dict[str, str] = {}
    for role in ("memorized", "control"):
        pool = [s.id for s in suite.samples if s.role == role and s.split in POOL]
        dealt = deal(pool, {(role, PRIVATE): each}, seed)
        splits |= {sample: split or "dev" for sample, (_, split) in dealt.items()}
    return splits


def write_private_suite(suite: Suite, seed: int, to: Path, each: int = EACH) -> Suite:
    """Write the suite with the split `private` into a folder that is not there yet.

    The seed is written nowhere. Weights are linked where the file system can do it, else copied.

    Raises:
        DoribError: as `dealt_anew`, the suite's table is none of JSON lines, or the folder is there
            already or cannot be written.
    """
    table = suite.manifest.samples
    if not isinstance(table, str):
        raise DoribError(f"suite {suite.name}: has no samples.jsonl that could be dealt anew")
    if os.path.lexists(to):
        raise DoribError(f"{to}: is there already; name another folder by --to, or remove it")
    splits = dealt_anew(suite, seed, each)
    with named_write_errors(to, "--to"), whole_folder(to) as folder:
        shutil.copytree(
            suite.root,
            folder,
            ignore=shutil.ignore_patterns(*_LEFT_OUT),
            copy_function=_linked_or_copied,
            dirs_exist_ok=True,
        )
        _write_manifest(folder)
        rows = [row for _, row in read_jsonl(suite.root / table)]
        write_lines(folder / table, [_placed(row, splits) for row in rows])
    return Suite.load(to)


def _placed(row: Mapping[str, object], splits: Mapping[str, str]) -> dict[str, object]:
    split = splits.get(str(row["id"]))
    return dict(row) if split is None else {**row, "split": split}


def _write_manifest(folder: Path) -> None:
    path = folder / "suite.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["name"] += f"-{PRIVATE}"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _linked_or_copied(source: str, target: str) -> str:
    # A link to a text would have whoever mends one suite change the other.
    if source.endswith(".safetensors"):
        try:
            os.link(source, target)
        except OSError:
            # Another disk, or one that knows no links.
            pass
        else:
            return target
    return str(shutil.copyfile(source, target))


def main() -> None:
    """Deal a split from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, required=True, help="of the lot: keep it to yourself")
    parser.add_argument("--to", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--suite", default="tiny", help="a registered suite, or a suite's folder")
    parser.add_argument("--each", type=int, default=EACH, help="samples of either role")
    asked = parser.parse_args()
    try:
        suite = write_private_suite(load_suite(asked.suite), asked.seed, asked.to, asked.each)
    except DoribError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(f"{suite.root}: suite {suite.name}, sha256 {suite.digest()}")


if __name__ == "__main__":
    main()
