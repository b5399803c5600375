"""What all verbs of one run share: the suite, the model, the samples, the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dorib.contracts.seeds import Seeds
from dorib.contracts.views import Target
from dorib.errors import DoribError
from dorib.host.registry import Registry, discover
from dorib.reporting import Reporter, Silent
from dorib.store.fingerprint import (
    digest,
    file_digest,
    folder_digest,
    library_versions,
    numerics_digest,
)
from dorib.store.store import Store
from dorib.suites.fetch.hub import commit_of
from dorib.suites.images import read_image
from dorib.suites.manifest import Orientation, Profile, Sample
from dorib.suites.suite import Suite
from dorib.target.loading import load_pipeline
from dorib.target.model import DiffusersModel
from dorib.target.trial import try_out
from dorib.verbs.settings import Settings


@dataclass(frozen=True)
class Subject:
    """Something that images are made of: a sample, or a utility prompt."""

    id: str
    caption: str
    role: Literal["memorized", "control", "utility"]
    cluster: str
    originals: tuple[Path, ...] = ()
    other_caption: str | None = None
    kind: str | None = None
    """Of a utility prompt, where its suite tells kinds apart."""
    orientation: Orientation = "apply"
    """How its originals are read."""

    @cached_property
    def tag(self) -> str:
        """The id with a digest of all it stands for: its name in the store."""
        content: list[Any] = [self.caption, self.other_caption]
        content.append([file_digest(path) for path in self.originals])
        if self.orientation != "apply":
            content.append(self.orientation)
        return f"{self.id}-{digest(content)[:12]}"


@dataclass
class RunContext:
    """One run's inputs, resolved."""

    suite: Suite
    settings: Settings
    profile: Profile
    store: Store
    reporter: Reporter = field(default_factory=Silent)
    registry: Registry = field(default_factory=discover)
    """Where the sampling rules that edits name are looked up."""

    @cached_property
    def seeds(self) -> Seeds:
        """The root of all randomness."""
        return Seeds(self.settings.root_seed)

    @cached_property
    def evaluation_seeds(self) -> tuple[int, ...]:
        """The same in all arms; their noise is drawn in a scope of its own."""
        return tuple(range(self.profile.seeds))

    @cached_property
    def batch_size(self) -> int:
        """Items handled together."""
        return self.settings.batch_size or self.suite.manifest.batch_size

    @cached_property
    def device(self) -> torch.device:
        """Where the model runs.

        Raises:
            DoribError: there is no such device here.
        """
        name = self.settings.device
        if name == "auto":
            accelerator = torch.accelerator.current_accelerator(check_available=True)
            return accelerator or torch.device("cpu")
        try:
            device = torch.device(name)
            torch.zeros(1, device=device).item()
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise DoribError(
                f"--device {name}: not usable here ({reason}); leave it out or give 'cpu'"
            ) from error
        return device

    @cached_property
    def dtype(self) -> torch.dtype:
        """The model's number format."""
        dtype: torch.dtype = getattr(torch, self.settings.dtype)
        return dtype

    @cached_property
    def model(self) -> DiffusersModel:
        """The target model, loaded when it is first needed, and tried out.

        Raises:
            DoribError: it cannot be loaded, or cannot make an image with the suite's settings.
        """
        source = self.suite.component(self.suite.manifest.pipeline)
        commit = None if Path(source).exists() else self.pipeline_version
        pipeline = load_pipeline(
            source, self.device, self.dtype, commit, self.suite.pipeline_configuration
        )
        model = DiffusersModel(pipeline, self.suite.manifest.sampling, self.registry)
        try_out(model, f"pipeline {source}")
        if self.settings.gradient_checkpointing:
            model.enable_gradient_checkpointing()
        if self.settings.vae_slicing:
            model.enable_vae_slicing()
        if self.settings.offload:
            model.enable_offload()
        if self.settings.compile:
            model.compile()
        return model

    @cached_property
    def pipeline_version(self) -> str | None:
        """Digest of the pipeline's files, or its commit on the hub; None where that is unknown."""
        source = Path(self.suite.component(self.suite.manifest.pipeline))
        if source.is_dir():
            return folder_digest(source)
        if source.is_file():
            configuration = Path(self.suite.pipeline_configuration or "")
            return digest([file_digest(source), folder_digest(configuration)])
        return commit_of(str(source))

    @cached_property
    def model_key(self) -> dict[str, Any]:
        """What everything depends on that this model computes."""
        manifest = self.suite.manifest
        return {
            "pipeline": self.pipeline_version or manifest.pipeline,
            "sampling": manifest.sampling.model_dump(mode="json"),
            "dtype": self.settings.dtype,
            "device": self.device.type,
            "compiled": self.settings.compile,
            "libraries": library_versions(),
            "numerics": numerics_digest(),
            "root_seed": self.settings.root_seed,
        }

    @cached_property
    def memorized_of_split(self) -> tuple[Subject, ...]:
        """All memorized samples of the split that have an original: what a global mitigation is
        fitted to."""
        return _scorable(self._subjects("memorized"))

    @cached_property
    def memorized(self) -> tuple[Subject, ...]:
        """The memorized samples that this run scores."""
        return _scorable(self._chosen("memorized", self.profile.memorized))

    @cached_property
    def controls(self) -> tuple[Subject, ...]:
        """The controls that this run scores."""
        return _scorable(self._chosen("control", self.profile.controls))

    @cached_property
    def unscorable(self) -> tuple[Subject, ...]:
        """Those that this run would score if they had an original: recorded, and in no rate.

        The limits count them, so that which samples a run is about does not depend on which
        originals could be had.
        """
        chosen = (
            *self._chosen("memorized", self.profile.memorized),
            *self._chosen("control", self.profile.controls),
        )
        return tuple(subject for subject in chosen if not subject.originals)

    @cached_property
    def utility_prompts(self) -> tuple[Subject, ...]:
        """Prompts outside the memorized set, each with another prompt's caption beside it."""
        prompts = self.suite.utility_prompts
        return tuple(
            Subject(
                id=f"utility-{number:04d}",
                caption=prompt.caption,
                role="utility",
                cluster=f"utility-{number:04d}",
                other_caption=prompts[(number + 1) % len(prompts)].caption,
                kind=prompt.kind,
            )
            for number, prompt in enumerate(prompts[: self.profile.utility])
        )

    def memorized_behind(self, subject: Subject) -> Subject:
        """The memorized sample whose per-sample edit acts while `subject` is generated.

        A memorized sample's own; for controls and utility prompts one assigned by seed, whatever
        the run's limits.
        """
        if subject.role == "memorized":
            return subject
        number = self.seeds.child("assignment").integer(subject.id)
        return self.memorized_of_split[number % len(self.memorized_of_split)]

    def targets(self, subjects: Sequence[Subject]) -> list[Target]:
        """`subjects` as methods see them, indexed by their position.

        Raises:
            DoribError: a sample has no original image.
        """
        return [
            Target(
                sample=subject.id,
                index=index,
                caption=subject.caption,
                original=self.originals(subject)[0],
                other_captions=self.suite.general_captions,
            )
            for index, subject in enumerate(subjects)
        ]

    def originals(self, subject: Subject) -> Tensor:
        """`[originals, 3, height, width]`, float32 in [0, 1], at the model's resolution."""
        sampling = self.suite.manifest.sampling
        size = sampling.height, sampling.width
        if not subject.originals:
            return torch.zeros(0, 3, *size)
        images = (read_image(path, size, subject.orientation) for path in subject.originals)
        return torch.stack(list(images))

    def _subjects(self, role: Literal["memorized", "control"]) -> list[Subject]:
        return [
            _subject(self.suite, sample)
            for sample in self.suite.split(self.settings.split)
            if sample.role == role
        ]

    def _chosen(
        self, role: Literal["memorized", "control"], of_profile: int | None
    ) -> list[Subject]:
        counts = [count for count in (of_profile, self.settings.limit) if count is not None]
        return self._subjects(role)[: min(counts, default=None)]


def _subject(suite: Suite, sample: Sample) -> Subject:
    originals = suite.originals(sample)
    return Subject(
        sample.id,
        sample.caption,
        sample.role,
        sample.cluster,
        originals,
        orientation=suite.manifest.orientation,
    )


def _scorable(subjects: Sequence[Subject]) -> tuple[Subject, ...]:
    return tuple(subject for subject in subjects if subject.originals)
