"""How fast this machine is on a suite's model: a few batches, measured once and kept."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from dorib.contracts.methods import Scale
from dorib.contracts.triggers import Trigger, save_trigger
from dorib.contracts.views import Generation
from dorib.host.configure import Configured
from dorib.kit.noise_pairs import noise_pairs, pair_losses
from dorib.kit.starts import own_prompt
from dorib.plan.edits import WORK_PER_GRADIENT
from dorib.plan.steps import Step
from dorib.report.board.computing import processor_name
from dorib.report.run import Run
from dorib.store.code import closure_digest
from dorib.store.files import flush_all, write_json
from dorib.store.fingerprint import digest
from dorib.store.store import Shelf, Store
from dorib.suites.images import write_image
from dorib.target.model import DiffusersModel
from dorib.validation import StrictModel
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.guarding import guarded
from dorib.verbs.memory import within_memory
from dorib.verbs.preparation.suite_model import load_target_model

if TYPE_CHECKING:
    from collections.abc import Sequence

R = TypeVar("R")
Clock = Callable[[], float]

REPEATS = 3
"""Of each batch, after one that is not counted; the median is what counts."""
LONG_ENOUGH = 20.0
"""Seconds from which on the first of a batch counts, and is the only one."""
MEASURED = "measured"
SAMPLING_STEPS = 2
"""Of the sampling that is timed: all take as long."""


class Speeds(StrictModel):
    """What things take here, in seconds and bytes."""

    timesteps: int
    """U-Net calls of one sampling."""
    value_layers: dict[str, int]
    """Outputs of each cross-attention value layer."""
    load: float
    """Seconds to load the model."""
    forward: float
    """Seconds a U-Net item of a pass forward alone."""
    gradient: float
    """Seconds a U-Net item of passes forward and backward."""
    image: float
    """Seconds an image beside its U-Net items: decoded, written, flushed."""
    metrics: dict[str, float | None]
    """Seconds an image, by metric; None where it could not be measured by itself."""
    image_bytes: int
    trigger_bytes: int
    """Of one that holds embeddings."""
    unet_bytes: int
    peak_bytes: int
    """Most memory taken by a batch that is searched for, or drawn; of a processor, by the whole
    program."""

    def seconds(self, step: Step) -> float | None:
        """How long a step takes; None where its work is not known."""
        if step.work is None or step.rule is None:
            return None
        work = step.work + step.rule
        taken = work.forward * self.forward + work.gradient * self.gradient
        if step.metric is None:
            return taken + step.images * self.image
        each = self.metrics.get(step.metric)
        return None if each is None else taken + step.images * each


def scale_of(context: RunContext, speeds: Speeds | None) -> Scale:
    """What methods are told when they are asked what they will cost."""
    if speeds is None:
        return context.scale
    return replace(context.scale, timesteps=speeds.timesteps, value_layers=speeds.value_layers)


def kept_speeds(this: Run) -> Speeds | None:
    """What was measured here before, for the same model, settings and metrics."""
    return _read(_shelf(this, this.context.store))


def measured_speeds(this: Run, clock: Clock = time.perf_counter) -> Speeds:
    """The same; where there is none, it is measured and kept."""
    shelf = _shelf(this, Store(this.context.store.root, this.context.reporter.note))
    kept = _read(shelf)
    if kept is not None:
        return kept
    with this.context.reporter.verb("measure", "how fast this machine is", 0):
        speeds = _Measuring(this, clock).speeds()
    with shelf.batch([MEASURED]) as folder:
        write_json(folder / f"{MEASURED}.json", speeds.model_dump(mode="json"))
    return speeds


def _read(shelf: Shelf) -> Speeds | None:
    if MEASURED not in shelf:
        return None
    content = (shelf[MEASURED] / f"{MEASURED}.json").read_text()
    return Speeds.model_validate_json(content)


def _shelf(this: Run, store: Store) -> Shelf:
    context, settings = this.context, this.context.settings
    key = {
        "code": closure_digest(__name__),
        "model": context.model_key,
        "machine": _machine(context.device),
        "together": _together(this),
        "drawn_together": _drawn_together(this),
        "settings": [
            settings.gradient_checkpointing,
            settings.vae_slicing,
            settings.offload,
        ],
        "metrics": [metric.fingerprint for metric in this.metrics],
    }
    return store.shelf("speeds", key)


def _together(this: Run) -> int:
    """Searches that share a forward pass."""
    return min(this.context.batch_size, len(this.subjects))


def _drawn_together(this: Run) -> int:
    """Images that share a forward pass; a cell has no more than its samples take."""
    cell = len(this.subjects) * len(this.context.evaluation_seeds)
    return min(this.context.batch_size, cell)


def _machine(device: torch.device) -> dict[str, str | int]:
    name = processor_name(device)
    if device.type != "cpu":
        return {"card": name}
    return {
        # Of two machines that share a folder each has its own; which they are is nobody's concern.
        "host": digest(platform.node()),
        "processor": name,
        "threads": torch.get_num_threads(),
    }


@dataclass
class _Measuring:
    """At work on the model of one run."""

    this: Run
    clock: Clock

    def speeds(self) -> Speeds:
        context = self.this.context
        again = context.loaded_model is not None
        context.forget_model()
        started = self._now()
        if again:
            # Not by the property, which would say once more what there is to say of captions.
            context.model = load_target_model(
                context.suite,
                context.settings,
                context.device,
                context.registry,
                context.pipeline_version,
            )
        model = context.model
        load = self._now() - started
        if model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(model.device)
        subjects = self.this.subjects[: _together(self.this)]
        several = [subjects[i % len(subjects)] for i in range(_drawn_together(self.this))]
        _, gradient = self._fitting(partial(self._gradient, model), subjects)
        _, forward = self._fitting(partial(self._forward, model), several)
        with TemporaryDirectory() as folder:
            drawn, (images, image, size) = self._fitting(
                partial(self._images, model, folder=Path(folder)), several
            )
            trigger_bytes = _trigger_bytes(model, subjects[0], Path(folder))
        return Speeds(
            timesteps=len(model.sampling_timesteps()),
            value_layers={
                name: layer.out_features
                for name, layer in model.cross_attention_value_layers().items()
            },
            load=load,
            forward=forward,
            gradient=gradient,
            image=image,
            metrics={one.label: self._metric(one, images, drawn) for one in self.this.metrics},
            image_bytes=size,
            trigger_bytes=trigger_bytes,
            unet_bytes=sum(w.numel() * w.element_size() for w in model.weights().values()),
            peak_bytes=_peak_bytes(model.device),
        )

    def _fitting(
        self, work: Callable[[Sequence[Subject]], R], batch: Sequence[Subject]
    ) -> tuple[Sequence[Subject], R]:
        """What `work` gives for the batch, or for the first part that fits into memory."""
        return next(within_memory(work, batch, self.this.context.reporter.note))

    def _gradient(self, model: DiffusersModel, subjects: Sequence[Subject]) -> float:
        """Seconds an item: the loss of each original under its own prompt, and its gradient."""
        context = self.this.context
        targets = context.targets(subjects)
        latents = model.encode_image(torch.stack([t.original for t in targets])).float()
        start = own_prompt(model, targets)
        leaves = {name: value.clone().requires_grad_() for name, value in start.items()}
        generators = [context.seeds.generator("speed", t.sample) for t in targets]
        samples = torch.arange(len(targets), device=model.device)

        def once() -> None:
            pairs = noise_pairs(model, generators)
            losses = pair_losses(model, latents, pairs, leaves, samples)
            losses.sum().backward()  # type: ignore[no-untyped-call]

        return self._timed(once) / (len(targets) * WORK_PER_GRADIENT)

    def _forward(self, model: DiffusersModel, subjects: Sequence[Subject]) -> float:
        """Seconds an item: the first steps of sampling."""
        steps = min(SAMPLING_STEPS, len(model.sampling_timesteps()))
        embeddings = model.encode_prompt([subject.caption for subject in subjects])
        samples = torch.arange(len(subjects), device=model.device)

        def once() -> None:
            model.sample_latents(embeddings, self._generators(subjects), samples, steps=steps)

        guided = 2 if model.sampling.guidance_scale > 1 else 1
        return self._timed(once) / (len(subjects) * steps * guided)

    def _images(
        self, model: DiffusersModel, subjects: Sequence[Subject], folder: Path
    ) -> tuple[Tensor, float, int]:
        """The originals as the autoencoder gives them back, seconds for each, and mean bytes."""
        originals = [self.this.context.originals(subject)[0] for subject in subjects]
        latents = model.encode_image(torch.stack(originals))
        paths = [folder / f"{number}.png" for number in range(len(subjects))]

        def once() -> None:
            for image, path in zip(model.decode(latents), paths, strict=True):
                write_image(image, path)
            flush_all(paths)

        seconds = self._timed(once) / len(subjects)
        size = sum(path.stat().st_size for path in paths) // len(paths)
        return model.decode(latents).cpu(), seconds, size

    def _metric(
        self, metric: Configured, images: Tensor, subjects: Sequence[Subject]
    ) -> float | None:
        """Seconds an image; None where nothing comes of such a measurement."""
        context = self.this.context
        levels = {quantity.level for quantity in metric.metric.quantities.values()}
        if levels == {"cell"}:
            return None
        seeds = min(len(context.evaluation_seeds), len(images))
        count = len(images) // seeds
        finite = images.nan_to_num(nan=0.5)

        def once() -> None:
            generations = [
                Generation(
                    sample=subject.id,
                    caption=subject.caption,
                    seeds=context.evaluation_seeds[:seeds],
                    images=finite[number * seeds : (number + 1) * seeds],
                    originals=context.originals(subject),
                    twins=finite[number * seeds : (number + 1) * seeds],
                    other_caption=subjects[0].caption,
                )
                for number, subject in enumerate(subjects[:count])
            ]
            with guarded(context, metric):
                for measured in metric.metric.measure(generations):
                    list(measured)

        return self._timed(once) / (count * seeds)

    def _generators(self, subjects: Sequence[Subject]) -> list[torch.Generator]:
        seeds = self.this.context.seeds
        return [seeds.generator("speed", subject.id) for subject in subjects]

    def _timed(self, work: Callable[[], None]) -> float:
        started = self._now()
        work()
        first = self._now() - started
        if first >= LONG_ENOUGH:
            return first
        taken = []
        for _ in range(REPEATS):
            started = self._now()
            work()
            taken.append(self._now() - started)
        return median(taken)

    def _now(self) -> float:
        """The clock, once all that was asked of the device is done."""
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        return self.clock()


def _trigger_bytes(model: DiffusersModel, subject: Subject, folder: Path) -> int:
    embeddings = {
        name: value[0].float().cpu()
        for name, value in model.encode_prompt([subject.caption]).items()
    }
    place = folder / "trigger"
    place.mkdir()
    save_trigger(Trigger(subject.id, 1, embeddings=embeddings), place)
    return sum(path.stat().st_size for path in place.iterdir())


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    # In kilobytes, but on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
