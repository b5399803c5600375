"""Suites: a target model, its memorized samples, its controls and the settings that fit it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from dorib.config import Budgets, first_problem
from dorib.errors import DoribError
from dorib.fetch.spec import CONTROLS, FetchSpec, stored_original
from dorib.fingerprint import digest, file_digest, folder_digest
from dorib.prompt_tables import Kind, PromptTable, read_prompt_table, read_rows
from dorib.specs import spec_of

if TYPE_CHECKING:
    from dorib.registry import Registry

# A sample's id becomes part of file names, so what it may hold is narrow.
SAMPLE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


M = TypeVar("M", bound=_Model)


class Sample(_Model):
    """One row of a suite's sample table."""

    id: str
    caption: str = Field(pattern=r"\S")
    images: tuple[str, ...] = ()
    """Originals, relative to the suite folder; a template sample may have several."""
    role: Literal["memorized", "control"]
    urls: tuple[str, ...] = ()
    """Where `dorib fetch` finds originals, beside `images`."""
    kind: Kind = "unknown"
    split: str = "test"
    duplication: int = Field(default=1, ge=0)
    cluster: str = Field(min_length=1)
    """The source photograph: resampling unit of every interval."""
    licence: str = ""
    source: str = ""

    @field_validator("id")
    @classmethod
    def _plain_id(cls, value: str) -> str:
        if not SAMPLE_ID.fullmatch(value):
            raise ValueError("an id is 1 to 64 letters, digits, '.', '_' or '-'")
        return value


class SamplingSettings(_Model):
    """How images are generated."""

    height: int = Field(gt=0)
    """Pixels."""
    width: int = Field(gt=0)
    """Pixels."""
    steps: int = Field(gt=0)
    guidance_scale: float = Field(ge=0)
    """As in diffusers: guidance is used where this exceeds 1."""


class DescriptorSettings(_Model):
    """The suite's copy-detection descriptor, and where its threshold lies."""

    path: str | None = None
    """The descriptor's folder, relative to the suite; left out for the official SSCD."""
    official: bool = False
    """The official SSCD weights instead of a network of the suite's own."""
    threshold: float = Field(gt=-1, lt=1)
    false_positive_rate: float | None = Field(default=None, gt=0, lt=1)
    """Share of pairs of different images at or above the threshold, as calibrated; None where
    nobody calibrated it on the suite's images."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.official == (self.path is not None):
            raise ValueError("give the descriptor's path, or official: true, and not both")
        return self


class Profile(_Model):
    """How much of the suite one run uses."""

    memorized: int | None = Field(default=None, gt=0)
    """Number of memorized samples; None for all of the split."""
    controls: int | None = Field(default=None, ge=0)
    """Number of controls; None for all of the split."""
    seeds: int = Field(gt=0)
    """Evaluation images per sample and trigger: the k of memorization_rate@k."""
    budgets: Budgets
    utility: int = Field(gt=0)
    """Number of utility prompts."""


def _form(value: object) -> Literal["mapping", "file"]:
    return "mapping" if isinstance(value, dict | PromptTable) else "file"


SampleTable: TypeAlias = Annotated[
    Annotated[str, Tag("file")] | Annotated[PromptTable, Tag("mapping")], Discriminator(_form)
]
"""A JSONL sample table by its path, or a prompt table with what there is to say of it."""


class Manifest(_Model):
    """The content of `suite.yaml`."""

    name: str
    version: str
    title: str = ""
    licence: str = ""
    pipeline: str
    """A diffusers pipeline folder, relative to the suite, or a hub id."""
    oracle: str | None = None
    """A U-Net folder: trained without the memorized samples, everything else equal."""
    descriptor: DescriptorSettings | None = None
    clip: str | None = None
    """A transformers CLIP folder, relative to the suite, or a hub id."""
    samples: SampleTable = "samples.jsonl"
    utility: str = "utility.jsonl"
    general: str = "general.jsonl"
    fetch: FetchSpec | None = None
    """What `dorib fetch` brings into the user's cache."""
    sampling: SamplingSettings
    quick: Profile
    full: Profile
    batch_size: int = Field(default=8, gt=0)
    required_attacks: tuple[str, ...] = ()
    """What a mitigation must have been attacked by to have a rank; none: by all of its run's."""

    @field_validator("required_attacks")
    @classmethod
    def _attack_labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(spec_of(attack)) for attack in value))

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", value):
            raise ValueError("a suite's name is lower-case letters, digits and hyphens")
        return value


class Suite:
    """A suite folder, read and checked."""

    def __init__(self, root: Path, manifest: Manifest, reference: str | None = None) -> None:
        self.root = root
        self.manifest = manifest
        self.reference = reference or str(root)

    @classmethod
    def load(cls, root: Path, reference: str | None = None) -> Suite:
        """Read a suite folder; `reference` is what the command line knows it by.

        Raises:
            DoribError: `suite.yaml` is missing, unreadable or has a wrong entry.
        """
        path = root / "suite.yaml"
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DoribError(
                f"{root}: no suite.yaml there; a suite is a folder that holds one"
            ) from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise DoribError(f"{path}: not readable as YAML ({reason}); mend the file") from error
        if not isinstance(content, dict):
            raise DoribError(f"{path}: holds no mapping; see the documentation of suites")
        return cls(root, _parse(Manifest, content, str(path)), reference)

    @property
    def name(self) -> str:
        """The suite's name."""
        return self.manifest.name

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """All samples of all splits, in the table's order.

        Raises:
            DoribError: a row is wrong (named by its number), or an id stands twice.
        """
        samples: list[Sample] = []
        seen: dict[str, str] = {}
        for path, number, row in self._sample_rows():
            sample = _parse(Sample, row, f"{path}, row {number}")
            # Ids become file names, and some file systems do not tell letters' case apart.
            first = seen.setdefault(sample.id.casefold(), f"row {number}")
            if len(seen) == len(samples):
                raise DoribError(
                    f"{path}, row {number}: id {sample.id!r} stands in {first} already; "
                    "give each sample its own, whatever the case of its letters"
                )
            samples.append(sample)
        return tuple(samples)

    def _sample_rows(self) -> Iterator[tuple[Path, int, dict[str, Any]]]:
        table, fetch = self.manifest.samples, self.manifest.fetch
        if isinstance(table, PromptTable):
            if fetch and table.controls == CONTROLS and not (fetch.folder / CONTROLS).is_dir():
                # They are the user's to hand in; a run without them says so.
                table = table.model_copy(update={"controls": None})
            yield from read_prompt_table(table, self._place)
        else:
            path = self._place(table)
            yield from ((path, number, row) for number, row in _rows(path))

    def split(self, split: str) -> tuple[Sample, ...]:
        """The samples of one split.

        Raises:
            DoribError: it has no memorized sample; lists the splits there are.
        """
        chosen = tuple(sample for sample in self.samples if sample.split == split)
        if not any(sample.role == "memorized" for sample in chosen):
            known = ", ".join(sorted({sample.split for sample in self.samples}))
            raise DoribError(
                f"suite {self.name}: split {split!r} has no memorized sample; choose from: {known}"
            )
        return chosen

    @cached_property
    def utility_captions(self) -> tuple[str, ...]:
        """Captions of no sample, for measuring utility.

        Raises:
            DoribError: a row is wrong (named by its number), or there are too few to shuffle.
        """
        path = self._place(self.manifest.utility)
        captions = _captions(path)
        if len(captions) < 2:
            raise DoribError(f"{path}: a single caption cannot be shuffled; give at least two")
        return captions

    @cached_property
    def general_captions(self) -> tuple[str, ...]:
        """Non-memorized captions that a defender or an attacker may use."""
        return _captions(self._place(self.manifest.general))

    def originals(self, sample: Sample) -> tuple[Path, ...]:
        """The files of a sample's original images: those it lists, and those fetched for it.

        There may be none.

        Raises:
            DoribError: one lies outside the suite folder.
        """
        table = self.manifest.samples
        name = table.table if isinstance(table, PromptTable) else table
        where = f"{self.root / name}, sample {sample.id}"
        listed = [self._place(image, where) for image in sample.images]
        fetch = self.manifest.fetch
        stored = [stored_original(fetch.folder, url) for url in sample.urls] if fetch else []
        return (*listed, *(path for path in stored if path))

    def digest(self) -> str:
        """Digest of the suite's folder, and of the fetched tables and originals in use."""
        whole = folder_digest(self.root)
        fetch = self.manifest.fetch
        if fetch is None:
            return whole
        tables = [file_digest(fetch.place(file)) for file in fetch.files]
        originals = {s.id: [file_digest(p) for p in self.originals(s)] for s in self.samples}
        return digest([whole, tables, originals])

    def component(self, reference: str) -> str:
        """A component's folder if the suite ships it, otherwise the hub id as it stands."""
        folder = self.root / reference
        return str(self._inside(reference)) if folder.exists() else reference

    def _place(self, relative: str, named_by: str | None = None) -> Path:
        """Where a table or an image lies: in the suite folder, or fetched into the cache."""
        fetch = self.manifest.fetch
        if fetch is None or not fetch.brings(relative):
            return self._inside(relative, named_by)
        path = self._inside(relative, named_by, fetch.folder)
        if not path.exists():
            raise DoribError(f"{path}: missing; run `dorib fetch {self.reference}`")
        return path

    def _inside(
        self, relative: str, named_by: str | None = None, folder: Path | None = None
    ) -> Path:
        folder = folder or self.root
        path = folder / relative
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DoribError(
                f"{named_by or self.root / 'suite.yaml'}: {relative!r} leads out of the suite "
                "folder; use a path inside it"
            )
        return path


def load_suite(reference: str, registry: Registry) -> Suite:
    """A registered suite by name, or a suite folder.

    Raises:
        DoribError: there is neither.
    """
    if Path(reference).is_dir():
        return Suite.load(Path(reference))
    return Suite.load(Path(registry.get("suite", reference).target), reference)


def _rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        # Not splitlines: a caption may hold other characters that it takes for line ends.
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise DoribError(f"{path}: missing; restore it, or name another in suite.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DoribError(f"{path}: not readable ({error}); write it as UTF-8 JSONL") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DoribError(f"{path}, row {number}: not JSON ({error}); mend the row") from error
        if not isinstance(row, dict):
            raise DoribError(f"{path}, row {number}: not a JSON object; mend the row")
        rows.append((number, row))
    if not rows:
        raise DoribError(f"{path}: empty; it needs at least one row")
    return rows


def _captions(path: Path) -> tuple[str, ...]:
    captions = []
    published = path.suffix == ".csv"
    for number, row in read_rows(path) if published else _rows(path):
        caption = row.get("Caption" if published else "caption")
        if not isinstance(caption, str) or not caption.strip():
            raise DoribError(f"{path}, row {number}: no 'caption' in words; add one")
        captions.append(caption)
    return tuple(captions)


def _parse(model: type[M], content: dict[str, Any], where: str) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        known = ", ".join(model.model_fields)
        raise DoribError(f"{where}: {first_problem(error)}; mend it (fields: {known})") from error
