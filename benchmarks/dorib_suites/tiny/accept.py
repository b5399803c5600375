"""`python -m dorib_suites.tiny.accept`: does the shipped suite hold what it promises?

Samples with plain diffusers, not with dorib, so that it checks both.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from dorib.suites.images import read_image, to_picture
from dorib.suites.manifest import Sample
from dorib.suites.suite import Suite
from dorib_suites.tiny.build import different_pairs, hard_pairs
from dorib_suites.tiny.card import write_card
from dorib_suites.tiny.clip import MEAN, STD, tokenize
from dorib_suites.tiny.copies import ALL_CHANGES
from dorib_suites.tiny.judges import ShippedJudge
from dorib_suites.tiny.photographs import CATALOGUE, FIFTH
from dorib_suites.tiny.samples import suite_samples
from dorib_suites.tiny.scenes import Scene, draw_scene, of_other_kinds, render

KS = (2, 4)
"""Images per sample, of which one must replicate."""


class Acceptance:
    """The suite's parts, loaded once, and the figures measured on them."""

    def __init__(self, folder: Path) -> None:
        self.suite = Suite.load(folder)
        self.pipeline = StableDiffusionPipeline.from_pretrained(
            folder / "pipeline", dtype=torch.float32
        )
        self.pipeline.set_progress_bar_config(disable=True)
        self.oracle: UNet2DConditionModel | None = None
        if self.suite.manifest.oracle:
            self.oracle = UNet2DConditionModel.from_pretrained(
                folder / self.suite.manifest.oracle, dtype=torch.float32
            )
        self.clip = CLIPModel.from_pretrained(folder / "clip", dtype=torch.float32).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "clip")
        settings, second = self.suite.descriptor, self.suite.second_descriptor
        assert settings is not None
        self.judge = ShippedJudge.of(self.suite, settings)
        self.second = ShippedJudge.of(self.suite, second) if second else None
        self.threshold = settings.threshold
        self.figures: dict[str, Any] = {"descriptor threshold": self.threshold}

    @torch.no_grad()
    def generate(
        self, captions: Sequence[str], seed: int, unet: UNet2DConditionModel | None = None
    ) -> Tensor:
        """`[captions, 3, 64, 64]` in [0, 1], by the stock pipeline."""
        sampling = self.suite.manifest.sampling
        own = self.pipeline.unet
        self.pipeline.unet = unet or own
        images = []
        for start in range(0, len(captions), 32):
            batch = list(captions[start : start + 32])
            generators = [
                torch.Generator("cpu").manual_seed(1000 * seed + start + n)
                for n in range(len(batch))
            ]
            images.append(
                self.pipeline(
                    batch,
                    height=sampling.height,
                    width=sampling.width,
                    num_inference_steps=sampling.steps,
                    guidance_scale=sampling.guidance_scale,
                    generator=generators,
                    output_type="pt",
                ).images
            )
        self.pipeline.unet = own
        return torch.cat(images)

    def similarity(
        self, images: Tensor, samples: Sequence[Sample], judge: ShippedJudge | None = None
    ) -> Tensor:
        """Cosine of each image to the nearest original of its sample, `[samples]`."""
        originals = [self.originals(sample) for sample in samples]
        return (judge or self.judge).similarity(images, originals)

    def originals(self, sample: Sample) -> Tensor:
        """`[originals, 3, 64, 64]`."""
        return torch.stack([read_image(path) for path in self.suite.originals(sample)])

    @torch.no_grad()
    def check_autoencoder(self) -> None:
        """The ceiling of every score."""
        for role in ("memorized", "control"):
            samples = [s for s in self.of(role=role) if s.kind != "template"]
            images = torch.cat([self.originals(sample) for sample in samples])
            latents = self.pipeline.vae.encode(images * 2 - 1).latents
            restored = (self.pipeline.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
            decibels = -10 * (images - restored).square().flatten(1).mean(dim=1).log10()
            similarity = self.similarity(restored, samples)
            self.figures[f"reconstruction, {role}"] = {
                "median dB": round(decibels.median().item(), 2),
                "minimum dB": round(decibels.min().item(), 2),
                "share replicating": self.share(similarity),
                "median similarity": round(similarity.median().item(), 3),
            }
            if self.second:
                beside = self.second.share(self.similarity(restored, samples, self.second))
                self.figures[f"reconstruction, {role}"]["by the second judge"] = beside

    @torch.no_grad()
    def check_memorization(self, sheets: Path) -> None:
        """memorization_rate@k by split and by duplication, of controls and of the oracle."""
        memorized = self.of(role="memorized")
        groups = {
            "test": self.of(split="test", role="memorized"),
            "dev": self.of(split="dev", role="memorized"),
            "templates": self.of(kind="template"),
            "controls": self.of(role="control"),
        }
        levels = sorted({s.duplication for s in self.of(split="duplication")}, reverse=True)
        for level in levels:
            groups[f"duplication {level}"] = self.of(split="duplication", duplication=level)
        for name, samples in groups.items():
            self._check_rate(name, samples, sheets)
        if self.oracle is not None:
            self._check_rate("oracle", memorized, sheets, self.oracle)

    def _check_rate(
        self,
        name: str,
        samples: Sequence[Sample],
        sheets: Path,
        unet: UNet2DConditionModel | None = None,
    ) -> None:
        similarity, pictures = self.replication(samples, unet)
        for k in KS:
            rates = self.figures.setdefault(f"memorization_rate@{k}", {})
            rates[name] = self.share(similarity[:k].max(dim=0).values)
        if self.second:
            self._check_second(name, samples, similarity, pictures)
        contact_sheet([self.originals(s)[0] for s in samples], pictures, sheets / f"{name}.png")

    def _check_second(
        self,
        name: str,
        samples: Sequence[Sample],
        first: Tensor,
        pictures: Sequence[Tensor],
    ) -> None:
        """The second judge's rate, and how often both agree; `first` is `[seeds, samples]`."""
        assert self.second is not None
        beside = torch.stack([self.similarity(p, samples, self.second) for p in pictures])
        agree = (first >= self.threshold) == (beside >= self.second.threshold)
        found = self.figures.setdefault("second judge", {})
        found[name] = {
            f"memorization_rate@{k}": self.second.share(beside[:k].max(dim=0).values) for k in KS
        } | {"agreement": round(agree.float().mean().item(), 4)}

    def replication(
        self,
        samples: Sequence[Sample],
        unet: UNet2DConditionModel | None = None,
        seeds: int = max(KS),
    ) -> tuple[Tensor, list[Tensor]]:
        """Similarity of each seed's image to its sample, `[seeds, samples]`, and the images."""
        captions = [sample.caption for sample in samples]
        pictures = [self.generate(captions, seed, unet) for seed in range(seeds)]
        return torch.stack([self.similarity(images, samples) for images in pictures]), pictures

    @torch.no_grad()
    def check_scenes(self, sheets: Path) -> None:
        """Do scenes follow their captions, and differ between seeds as real drawings do?"""
        scenes = [draw_scene(np.random.default_rng([9, n])) for n in range(64)]
        captions = tuple(scene.caption for scene in scenes)
        real, other = (_rendered(scenes, drawing) for drawing in (1, 2))
        made = [self.generate(captions, seed) for seed in range(2)]
        twins, real_twins = (self.judge.pairwise(one, two) for one, two in (made, (real, other)))
        own, shuffled = self.alignment(made[0], captions), self.alignment(made[0], captions, 1)
        top = self.alignment(real, captions)
        self.figures["scenes"] = {
            "CLIP alignment": round(own, 3),
            "CLIP alignment of real scenes": round(top, 3),
            "share of real scenes' alignment": round(own / top, 3),
            "CLIP alignment, shuffled captions": round(shuffled, 3),
            "share whose kinds of shapes CLIP tells": self.recognised(made[0], scenes),
            "share whose kinds of shapes CLIP tells, real scenes": self.recognised(real, scenes),
            "similarity of two seeds, median": round(twins.median().item(), 3),
            "similarity of two seeds, share at threshold": self.share(twins),
            "similarity of two real drawings, median": round(real_twins.median().item(), 3),
            "similarity of two real drawings, share at threshold": self.share(real_twins),
        }
        contact_sheet(list(real[:32]), [made[0][:32]], sheets / "scenes.png")
        (sheets / "scenes.txt").write_text("\n".join(captions[:32]) + "\n")

    @torch.no_grad()
    def check_descriptor(self) -> None:
        """False positives on different images, recall on copies."""
        catalogue = CATALOGUE if self.suite.manifest.version.startswith("4.") else FIFTH
        samples = suite_samples(catalogue)
        different = different_pairs(self.judge, samples, catalogue)
        hard = hard_pairs(self.judge, samples)
        images = torch.cat([self.originals(sample)[:1] for sample in self.suite.samples], dim=0)
        recall = {}
        for name, change in ALL_CHANGES.items():
            changed = change(images, torch.Generator("cpu").manual_seed(5))
            recall[name] = self.share(self.judge.pairwise(images, changed))
        self.figures["descriptor"] = {
            "pairs of different images": {kind: len(s) for kind, s in different.items()},
            "false-positive rate": {kind: self.share(s, 5) for kind, s in different.items()},
            "share of pairs that look alike": {kind: self.share(s) for kind, s in hard.items()},
            "recall on copies": recall,
        }

    @torch.no_grad()
    def check_speed(self) -> None:
        """Cost of one U-Net item, batch 32, and of an image at the suite's settings."""
        captions = ["a small red star on a plain blue background"] * 32
        self.generate(captions, seed=0)
        started = time.perf_counter()
        self.generate(captions, seed=0)
        image = (time.perf_counter() - started) / len(captions)
        unet = self.pipeline.unet
        channels, side = unet.config.in_channels, unet.config.sample_size
        latents = torch.zeros(32, channels, side, side)
        context = torch.zeros(32, self.tokenizer.model_max_length, unet.config.cross_attention_dim)
        timesteps = torch.full((32,), 500)
        unet(latents, timesteps, context)
        started = time.perf_counter()
        for _ in range(3):
            unet(latents, timesteps, context)
        elapsed = (time.perf_counter() - started) / 3 / 32
        parameters = sum(p.numel() for p in unet.parameters())
        self.figures["U-Net"] = {
            "parameters": parameters,
            "milliseconds per item": round(1000 * elapsed, 2),
            "seconds per image": round(image, 3),
        }

    def alignment(self, images: Tensor, captions: tuple[str, ...], shift: int = 0) -> float:
        """Mean cosine of images and captions; with `shift`, of another image's caption."""
        shifted = captions[shift:] + captions[:shift]
        tokens = tokenize(self.tokenizer, shifted)
        output = self.clip(input_ids=tokens, pixel_values=(images - MEAN) / STD)
        return float((output.image_embeds * output.text_embeds).sum(dim=1).mean())

    def recognised(self, images: Tensor, scenes: Sequence[Scene]) -> float:
        """Share of images nearer to their caption than to any with another kind of one shape."""
        nearest = []
        for image, scene in zip(images, scenes, strict=True):
            captions = (scene.caption, *(other.caption for other in of_other_kinds(scene)))
            output = self.clip(
                input_ids=tokenize(self.tokenizer, captions),
                pixel_values=(image[None] - MEAN) / STD,
            )
            nearest.append(int(output.logits_per_image.argmax()))
        return round(nearest.count(0) / len(nearest), 4)

    def of(self, **wanted: Any) -> list[Sample]:
        """The samples whose fields have the wanted values."""
        return [
            sample
            for sample in self.suite.samples
            if all(getattr(sample, name) == value for name, value in wanted.items())
        ]

    def share(self, similarity: Tensor, digits: int = 4) -> float:
        """Share at or above the threshold."""
        return self.judge.share(similarity, digits)


def _rendered(scenes: Sequence[Scene], drawing: int) -> Tensor:
    """Each scene drawn once, `[scenes, 3, 64, 64]` in [0, 1]; `drawing` tells drawings apart."""
    pixels = [
        torch.from_numpy(render(scene, np.random.default_rng([9, n, drawing])).copy())
        for n, scene in enumerate(scenes)
    ]
    return torch.stack(pixels).permute(0, 3, 1, 2) / 255


def contact_sheet(originals: list[Tensor], rows: list[Tensor], path: Path) -> None:
    """Originals above what was generated for them, 16 columns."""
    lines = []
    for start in range(0, len(originals), 16):
        lines.append(torch.cat(originals[start : start + 16], dim=2))
        lines += [torch.cat(list(row[start : start + 16]), dim=2) for row in rows]
    width = max(line.shape[2] for line in lines)
    padded = [torch.nn.functional.pad(line, (0, width - line.shape[2])) for line in lines]
    to_picture(torch.cat(padded, dim=1)).save(path)


def measure_all(suite: Path, out: Path) -> dict[str, Any]:
    """All figures of a suite folder; contact sheets and `figures.json` go to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    acceptance = Acceptance(suite)
    acceptance.check_autoencoder()
    acceptance.check_memorization(out)
    acceptance.check_scenes(out)
    acceptance.check_descriptor()
    acceptance.check_speed()
    text = json.dumps(acceptance.figures, indent=2)
    (out / "figures.json").write_text(text + "\n")
    return acceptance.figures


def main() -> None:
    """Measure, print, and write figures, contact sheets and the model card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=Path, default=Path(__file__).parent / "suite")
    parser.add_argument("--out", type=Path, default=Path("acceptance"))
    options = parser.parse_args()
    figures = measure_all(options.suite, options.out)
    write_card(options.suite, figures, options.out)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
