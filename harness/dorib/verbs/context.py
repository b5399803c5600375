"""What all verbs of one run share: the suite, the model, the samples, the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dorib.contracts.methods import Scale
from dorib.contracts.seeds import Seeds
from dorib.contracts.views import ORIGINAL_IMAGE, GeneralPair, OtherSample, Target
from dorib.host.registry import Registry, discover
from dorib.reporting import Reporter, Silent
from dorib.store.code import closure_digest
from dorib.store.fingerprint import (
    deciding_versions,
    digest,
    file_digest,
)
from dorib.store.store import Store
from dorib.suites.images import read_image
from dorib.suites.manifest import Orientation, Profile, Sample
from dorib.suites.suite import Suite
from dorib.target.model import DiffusersModel
from dorib.verbs.preparation.captions import note_of_cut_captions, tokenizers_of
from dorib.verbs.preparation.suite_model import (
    Dtype,
    load_target_model,
    pipeline_version,
    usable_device,
    usable_dtype,
)
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
    captions_of_kind: tuple[str, ...] = ()
    """All other captions of that kind in the suite."""
    orientation: Orientation = "apply"
    """How its originals are read."""

    @cached_property
    def tag(self) -> str:
        """The id with a digest of all it stands for: its name in the store."""
        originals = [file_digest(path) for path in self.originals]
        content: list[Any] = [self.caption, self.other_caption, originals]
        if self.captions_of_kind:
            content.append(self.captions_of_kind)
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
        return usable_device(self.settings)

    @property
    def dtype(self) -> Dtype:
        """The model's number format.

        Raises:
            DoribError: as `device`.
        """
        return usable_dtype(self.settings, self.device)

    @cached_property
    def model(self) -> DiffusersModel:
        """The target model, loaded when it is first needed."""
        model = load_target_model(
            self.suite, self.settings, self.device, self.registry, self.pipeline_version
        )
        encoded = (*self.memorized_of_split, *self.controls, *self.utility_prompts)
        note = note_of_cut_captions(tokenizers_of(model.pipeline), encoded)
        if note is not None:
            self.reporter.note(note)
        return model

    @property
    def loaded_model(self) -> DiffusersModel | None:
        """The target model, where it has been needed already."""
        return self.__dict__.get("model")

    def forget_model(self) -> None:
        """Let the model be loaded anew when it is next needed: a plugin has changed this one."""
        self.__dict__.pop("model", None)

    @cached_property
    def pipeline_version(self) -> str | None:
        """Digest of the pipeline's folder, or its commit on the hub; None where that is unknown."""
        return pipeline_version(self.suite)

    @cached_property
    def model_key(self) -> dict[str, Any]:
        """What everything depends on that this model computes."""
        manifest = self.suite.manifest
        return {
            "pipeline": self.pipeline_version or manifest.pipeline,
            "sampling": manifest.sampling.model_dump(mode="json"),
            "dtype": self.dtype,
            "device": self.device.type,
            "compiled": self.settings.compile,
            "channels_last": self.settings.channels_last,
            "libraries": deciding_versions(),
            "code": closure_digest(__name__),
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
        """Prompts outside the memorized set, each with another prompt's caption beside it, and with
        all others of its kind."""
        prompts = self.suite.utility_prompts
        of_kind: dict[str | None, list[str]] = {}
        for prompt in prompts:
            of_kind.setdefault(prompt.kind, []).append(prompt.caption)
        return tuple(
            Subject(
                id=f"utility-{number:04d}",
                caption=prompt.caption,
                role="utility",
                cluster=f"utility-{number:04d}",
                other_caption=prompts[(number + 1) % len(prompts)].caption,
                kind=prompt.kind,
                captions_of_kind=tuple(
                    caption
                    for caption in dict.fromkeys(of_kind[prompt.kind])
                    if prompt.kind and caption != prompt.caption
                ),
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
        return self.memorized_of_split[
            assigned(self.seeds, subject.id, len(self.memorized_of_split))
        ]

    def targets(
        self, subjects: Sequence[Subject], knows: Collection[str] = (ORIGINAL_IMAGE,)
    ) -> list[Target]:
        """`subjects` as methods see them, indexed by their position.

        A method whose `knows` leaves the original image out is handed none.

        Raises:
            DoribError: a sample has no original image.
        """

        def original(subject: Subject) -> Tensor:
            return self.originals(subject)[0] if ORIGINAL_IMAGE in knows else torch.empty(0)

        return [
            Target(
                sample=subject.id,
                index=index,
                caption=subject.caption,
                original=original(subject),
                other_captions=self.suite.general_captions,
            )
            for index, subject in enumerate(subjects)
        ]

    @cached_property
    def samples_of_split(self) -> tuple[Subject, ...]:
        """All samples of the split that have an original, whatever the run's limits."""
        return (*self.memorized_of_split, *_scorable(self._subjects("control")))

    def others(self, subject: Subject) -> list[OtherSample]:
        """The samples of the split that show another photograph than `subject`."""
        size = self._image_size
        return [
            OtherSample(
                other.caption,
                other.role == "memorized",
                partial(read_image, other.originals[0], size, other.orientation),
            )
            for other in self.samples_of_split
            if other.cluster != subject.cluster
        ]

    def originals(self, subject: Subject) -> Tensor:
        """`[originals, 3, height, width]`, float32 in [0, 1], at the model's resolution."""
        size = self._image_size
        if not subject.originals:
            return torch.zeros(0, 3, *size)
        images = (read_image(path, size, subject.orientation) for path in subject.originals)
        return torch.stack(list(images))

    @cached_property
    def general_pairs(self) -> tuple[GeneralPair, ...]:
        """General captions with the images that the suite has for them."""
        orientation = self.suite.manifest.orientation
        return tuple(
            GeneralPair(caption, partial(read_image, path, self._image_size, orientation))
            for caption, path in self.suite.general_images
        )

    @cached_property
    def general_digest(self) -> str:
        """Of all that a defender is handed of the general prompts."""
        images = [(caption, file_digest(path)) for caption, path in self.suite.general_images]
        orientation = self.suite.manifest.orientation
        return digest([self.suite.general_captions, images, orientation if images else None])

    @property
    def scale(self) -> Scale:
        """How much there is to do, as methods are told that are asked what they will cost.

        Of the model no more than is known without loading it.
        """
        sampling = self.suite.manifest.sampling
        return Scale(
            sampling=sampling,
            timesteps=sampling.steps,
            memorized=len(self.memorized_of_split),
            general_captions=len(self.suite.general_captions),
            general_pairs=len(self.suite.general_images),
        )

    @property
    def _image_size(self) -> tuple[int, int]:
        sampling = self.suite.manifest.sampling
        return sampling.height, sampling.width

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


def assigned(seeds: Seeds, subject: str, memorized: int) -> int:
    """Which of the memorized samples of a split stands behind a subject that is none of them."""
    return seeds.child("assignment").integer(subject) % memorized


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
