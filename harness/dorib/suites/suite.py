"""Suites: a target model, its memorized samples, its controls and the settings that fit it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from dorib.contracts.suite_view import DescriptorSettings, SamplingSettings
from dorib.errors import DoribError
from dorib.host.registry import Registry, discover
from dorib.printable import shortened
from dorib.reading import read_jsonl, read_yaml
from dorib.reprs import in_one_line
from dorib.store.fingerprint import digest, file_digest, folder_digest
from dorib.suites.fetch.sources import CONTROLS, is_whole, stored_original
from dorib.suites.manifest import Manifest, Sample
from dorib.suites.prompt_tables import PromptTable, read_prompt_table
from dorib.suites.prompts import Prompt, read_prompts
from dorib.validation import checked


class Suite:
    """A suite folder, read and checked."""

    def __init__(self, root: Path, manifest: Manifest, reference: str | None = None) -> None:
        self.root = root
        self.manifest = manifest
        self.reference = reference or str(root)

    def __repr__(self) -> str:
        version, root = self.manifest.version, str(self.root)
        return in_one_line("Suite", name=self.name, version=version, root=root)

    @classmethod
    def load(cls, root: Path, reference: str | None = None) -> Suite:
        """Read a suite folder; `reference` is what the command line knows it by.

        Raises:
            DoribError: `suite.yaml` is missing, unreadable or has a wrong entry.
        """
        path = root / "suite.yaml"
        content = read_yaml(path, "no suite.yaml there; a suite is a folder that holds one")
        if not isinstance(content, dict):
            raise DoribError(f"{path}: holds no mapping; see the documentation of suites")
        return cls(root, checked(Manifest, content, str(path)), reference)

    @property
    def name(self) -> str:
        """The suite's name."""
        return self.manifest.name

    @property
    def sampling(self) -> SamplingSettings:
        """How images are generated."""
        return self.manifest.sampling

    @property
    def descriptor(self) -> DescriptorSettings | None:
        """The copy-detection descriptor; None where there is none."""
        return self.manifest.descriptor

    @property
    def second_descriptor(self) -> DescriptorSettings | None:
        """One that judges beside the first and decides nothing; None where there is none."""
        return self.manifest.second_descriptor

    @property
    def clip(self) -> str | None:
        """A transformers CLIP, as `component` takes it; None where there is none."""
        return self.manifest.clip

    @property
    def pipeline_configuration(self) -> str | None:
        """The folder with the configurations of a single-file pipeline; None where there is none.

        Raises:
            DoribError: it lies outside the suite folder, by a path that is not absolute.
        """
        named = self.manifest.pipeline_config
        return self.component(named) if named else None

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """All samples of all splits, in the table's order.

        Raises:
            DoribError: a row is wrong (named by its number), or an id stands twice.
        """
        samples: list[Sample] = []
        seen: dict[str, str] = {}
        for path, number, row in self._sample_rows():
            sample = checked(Sample, row, f"{path}, row {number}")
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
            yield from ((path, number, row) for number, row in read_jsonl(path))

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
    def utility_prompts(self) -> tuple[Prompt, ...]:
        """Prompts of no sample, for measuring utility.

        Raises:
            DoribError: a row is wrong (named by its number), or there are too few to shuffle.
        """
        path = self._place(self.manifest.utility)
        prompts = read_prompts(path)
        if len(prompts) < 2:
            raise DoribError(f"{path}: a single caption cannot be shuffled; give at least two")
        return prompts

    @cached_property
    def general_prompts(self) -> tuple[Prompt, ...]:
        """Non-memorized captions that a defender or an attacker may use, some with an image.

        Raises:
            DoribError: a row is wrong (named by its number).
        """
        return read_prompts(self._place(self.manifest.general))

    @cached_property
    def general_captions(self) -> tuple[str, ...]:
        """The captions of `general_prompts`."""
        return tuple(prompt.caption for prompt in self.general_prompts)

    @cached_property
    def general_images(self) -> tuple[tuple[str, Path], ...]:
        """Caption and file of those general prompts that have an image.

        Raises:
            DoribError: one lies outside the suite folder, is missing, or is a pipe, a device or a
                folder.
        """
        pairs = []
        for number, prompt in enumerate(self.general_prompts, start=1):
            if prompt.image is None:
                continue
            where = f"{self.root / self.manifest.general}, caption {number}"
            path = _no_pipe(self._place(prompt.image, where))
            if not _is_there(path):
                raise DoribError(f"{where}: {path} is missing; restore the picture")
            pairs.append((prompt.caption, path))
        return tuple(pairs)

    def originals(self, sample: Sample) -> tuple[Path, ...]:
        """The files of a sample's original images: those it lists, and those fetched for it.

        There may be none.

        Raises:
            DoribError: one lies outside the suite folder, or is a pipe, a device or a folder.
        """
        table = self.manifest.samples
        name = table.table if isinstance(table, PromptTable) else table
        where = f"{self.root / name}, sample {sample.id}"
        listed = [_no_pipe(self._place(image, where)) for image in sample.images]
        fetch = self.manifest.fetch
        stored = [stored_original(fetch.folder, url) for url in sample.urls] if fetch else []
        return (*listed, *(path for path in stored if path))

    def digest(self) -> str:
        """Digest of `suite.yaml` and of all that it and the samples name; of no model card."""
        manifest = self.manifest
        descriptors = (manifest.descriptor, manifest.second_descriptor)
        references = (
            manifest.pipeline,
            manifest.pipeline_config,
            manifest.oracle,
            *(settings.path for settings in descriptors if settings),
            manifest.clip,
        )
        # Elsewhere is the hub: the target model's own digest names the commit.
        named = [name for name in references if name and _is_there(self.root / name)]
        table = manifest.samples
        rows = table.table if isinstance(table, PromptTable) else table
        tables = [self._place(name) for name in (rows, manifest.utility, manifest.general)]
        general = [file_digest(path) for _, path in self.general_images]
        return digest(
            {
                "manifest": file_digest(self.root / "suite.yaml"),
                "components": [_content_digest(Path(self.component(name))) for name in named],
                "tables": [_content_digest(path) for path in tables],
                "originals": {
                    sample.id: [file_digest(path) for path in self.originals(sample)]
                    for sample in self.samples
                },
                # Left out of the others, whose digest stays what it was.
                **({"general images": general} if general else {}),
            }
        )

    def component(self, reference: str) -> str:
        """A component's folder if the suite ships it, otherwise what it names as it stands.

        That is a hub id, or an absolute path: whoever writes one means a place on this machine.

        Raises:
            DoribError: a relative path leads out of the suite folder.
        """
        if Path(reference).is_absolute() or not _is_there(self.root / reference):
            return reference
        return str(self._inside(reference))

    def _place(self, relative: str, named_by: str | None = None) -> Path:
        """Where a table or an image lies: in the suite folder, or fetched into the cache."""
        fetch = self.manifest.fetch
        file = fetch.file(relative) if fetch else None
        of_controls = fetch is not None and relative.split("/")[0] == CONTROLS
        if fetch is None or not (file or of_controls):
            return self._inside(relative, named_by)
        path = fetch.place(file) if file else self._inside(relative, named_by, fetch.folder)
        if not _is_there(path):
            raise DoribError(f"{path}: missing; run `dorib fetch {self.reference}`")
        if file and not is_whole(path, file.sha256):
            raise DoribError(
                f"{path}: not the file whose sha256 suite.yaml states; run `dorib fetch "
                f"{self.reference}`"
            )
        return path

    def _inside(
        self, relative: str, named_by: str | None = None, folder: Path | None = None
    ) -> Path:
        folder = folder or self.root
        path = folder / relative
        # realpath, unlike pathlib, passes over links that run in a circle.
        real, inside = os.path.realpath(path), os.path.realpath(folder)
        if not Path(real).is_relative_to(inside):
            raise DoribError(
                f"{named_by or self.root / 'suite.yaml'}: {shortened(relative)} leads out of the "
                "suite folder; use a path inside it"
            )
        return path


def _is_there(path: Path) -> bool:
    # Unlike pathlib, it takes a name that no file can have for one that is not there.
    return os.path.exists(path)  # noqa: PTH110


def _no_pipe(path: Path) -> Path:
    """`path`, unless reading it could wait for ever; a file that is missing is said on reading."""
    if _is_there(path) and not path.is_file():
        raise DoribError(f"{path}: no regular file; give a picture")
    return path


def _content_digest(path: Path) -> str:
    return folder_digest(path) if path.is_dir() else file_digest(path)


def load_suite(reference: str | Path, registry: Registry | None = None) -> Suite:
    """A registered suite by its name, or a suite folder.

    A registered name is never taken for a folder of the same name: that one is `./name`, or a
    `Path`. `registry` is where names are looked up (None: among all installed).

    Raises:
        DoribError: there is neither, or the folder's `suite.yaml` is wrong.
    """
    known = registry or discover()
    name = str(reference)
    registered = None
    if isinstance(reference, str):
        registered = known.registrations.get(("suite", name))
    if registered is None and _is_there(Path(reference)) and Path(reference).is_dir():
        return Suite.load(Path(reference))
    registered = registered or known.get("suite", name)
    return Suite.load(Path(registered.target), name)
