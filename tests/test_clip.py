import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from dorib import DoribError, Generation, Suite
from dorib.suites.manifest import Manifest
from dorib.suites.view import suite_view
from dorib.testing.pipelines import TOKENS
from dorib_clip import ClipParams
from dorib_clip.judge import Judge
from dorib_clip.metric import Clip
from dorib_clip.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing
from fixtures.suites import SIDE, manifest, save_clip

CPU = torch.device("cpu")
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("suite") / "clip")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The test's own copy, to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "clip"))


def suite_at(root: Path, clip: str | None = "clip") -> Suite:
    return Suite(root, Manifest.model_validate(manifest() | {"clip": clip}))


def prepared(folder: Path, **params) -> Clip:
    metric = Clip(ClipParams(**params))
    metric.prepare(suite_view(suite_at(folder.parent)), CPU)
    return metric


def pictures(count: int, seed: int, side: int = SIDE) -> Tensor:
    """8-bit values, as read back from a PNG."""
    values = np.random.default_rng(seed).integers(0, 256, (count, 3, side, side))
    return torch.from_numpy(values).float() / 255


def generation(
    caption: str = "a red star", other: str | None = None, images: int = 2, seed: int = 0
) -> Generation:
    shown = pictures(images, seed)
    return Generation("s", caption, tuple(range(images)), shown, shown[:0], other_caption=other)


def values_of(metric: Clip, shown: Generation, name: str = "clip_alignment") -> list[float]:
    (measured,) = metric.measure([shown])
    return [value.value for value in measured if value.metric == name]


@torch.no_grad()
def plain_alignment(folder: Path, images: Tensor, caption: str) -> list[float]:
    """With transformers' own processing and the model's own logits."""
    model = CLIPModel.from_pretrained(folder).eval()
    arrays = [(image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for image in images]
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    pixels = processor([Image.fromarray(array) for array in arrays], return_tensors="pt")
    words = CLIPTokenizer.from_pretrained(folder)
    tokens = words([caption], truncation=True, max_length=TOKENS, return_tensors="pt")
    logits = model(**tokens, pixel_values=pixels["pixel_values"]).logits_per_image
    return (logits[:, 0] / model.logit_scale.exp()).tolist()


# What is measured


def test_alignment_is_the_model_s_own_logit_without_its_scale(folder: Path) -> None:
    shown = generation("a red star", images=3)
    found = values_of(prepared(folder), shown)
    assert found == pytest.approx(plain_alignment(folder, shown.images, "a red star"), abs=1e-5)


def test_shuffled_alignment_is_that_of_the_other_caption(folder: Path) -> None:
    metric = prepared(folder)
    shown = generation("one tree", other="some sand")
    mirrored = generation("some sand", other="one tree")
    own, other = (values_of(metric, g, "clip_alignment") for g in (shown, mirrored))
    assert values_of(metric, shown, "clip_alignment_shuffled") == other
    assert values_of(metric, mirrored, "clip_alignment_shuffled") == own
    assert own != pytest.approx(other, abs=1e-6)


def test_shuffled_alignment_is_for_utility_prompts_only(folder: Path) -> None:
    attacked, utility = prepared(folder).measure([generation(), generation(other="one tree")])
    assert {value.metric for value in attacked} == {"clip_alignment"}
    assert {value.metric for value in utility} == {"clip_alignment", "clip_alignment_shuffled"}
    assert [value.seed for value in utility] == [0, 1, 0, 1]


def test_alignment_of_a_kind_is_the_mean_over_its_other_captions(folder: Path) -> None:
    others = ("one tree", "two green cubes", "some sand at night")
    shown = replace(generation("a red star", other="one tree", images=3), captions_of_kind=others)
    metric = prepared(folder, batch_size=2)
    found = values_of(metric, shown, "clip_alignment_of_kind")
    each = [values_of(metric, generation(caption, images=3)) for caption in others]
    assert found == pytest.approx(np.mean(each, axis=0), abs=1e-12)
    (measured,) = metric.measure([shown])
    assert {value.metric for value in measured} == set(Clip.quantities)


def test_each_caption_of_a_kind_is_embedded_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = ("one tree", "two green cubes", "some sand at night")
    embedded: list[str] = []
    embed = Judge.embed_captions

    def counting(judge: Judge, part: Sequence[str]) -> Tensor:
        embedded.extend(part)
        return embed(judge, part)

    monkeypatch.setattr(Judge, "embed_captions", counting)
    metric = prepared(folder)
    for caption in captions:
        others = tuple(other for other in captions if other != caption)
        list(metric.measure([replace(generation(caption), captions_of_kind=others)]))
    assert sorted(embedded) == sorted(captions)


def test_values_do_not_depend_on_the_batch(folder: Path) -> None:
    shown = [
        generation("one tree", images=1),
        generation("two green cubes", other="one tree", images=3, seed=1),
        generation("some sand at night", images=2, seed=2),
    ]
    together = [list(values) for values in prepared(folder).measure(shown)]
    one_by_one = prepared(folder, batch_size=1)
    apart = [list(values) for item in shown for values in one_by_one.measure([item])]
    for values, others in zip(together, apart, strict=True):
        assert [v.value for v in values] == pytest.approx([v.value for v in others], abs=1e-6)


def test_nothing_to_judge_is_nothing(folder: Path) -> None:
    assert list(prepared(folder).measure([])) == []


def test_a_long_caption_is_cut_off_at_what_the_model_reads(folder: Path) -> None:
    """A letter is a token here, beside the two of start and end."""
    metric = prepared(folder)
    read = "a" * (TOKENS - 2)
    assert metric.stack()["max_tokens"] == TOKENS
    exact, longer, shorter = (
        values_of(metric, generation(caption)) for caption in (f"{read}", f"{read}zz", read[:-1])
    )
    changed = values_of(metric, generation("b" + read[1:]))
    assert values_of(metric, generation(f"{read}yyyy")) == longer
    assert exact != pytest.approx(changed, abs=1e-6)
    assert exact != pytest.approx(shorter, abs=1e-6)


def test_damaged_weights_are_not_a_value(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    # Finite, so that they are loaded; what comes of them is not.
    tensors["visual_projection.weight"][:] = 3e38
    save_file(tensors, copy / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="not finite"):
        list(prepared(copy).measure([generation()]))


# The stack


def test_stack_names_the_judge(folder: Path) -> None:
    metric = prepared(folder)
    stack = metric.stack()
    assert stack["model"] == "suite"
    assert stack["resize"] == (
        f"short edge to {SIDE} px, bicubic, antialiased; centre crop of {SIDE} x {SIDE} px"
    )
    assert stack["normalisation"] == "mean (0.5, 0.5, 0.5), standard deviation (0.5, 0.5, 0.5)"


def test_weights_hash_follows_the_weights_not_their_files(folder: Path, tmp_path: Path) -> None:
    model = CLIPModel.from_pretrained(folder)
    sharded = Path(shutil.copytree(folder, tmp_path / "sharded" / "clip"))
    (sharded / WEIGHTS).unlink()
    model.save_pretrained(sharded, max_shard_size="20KB")
    assert not (sharded / WEIGHTS).exists()
    changed = Path(shutil.copytree(folder, tmp_path / "changed" / "clip"))
    tensors = load_file(changed / WEIGHTS)
    tensors["text_projection.weight"][0, 0] += 1
    save_file(tensors, changed / WEIGHTS, metadata={"format": "pt"})
    hashes = [prepared(path).stack()["weights_sha256"] for path in (folder, sharded, changed)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_named_model_judges_in_place_of_the_suite_s(copy: Path, tmp_path: Path) -> None:
    metric = Clip(ClipParams(model=str(copy)))
    metric.prepare(suite_view(suite_at(tmp_path / "nowhere")), CPU)
    assert metric.stack()["model"] == copy.name
    assert len(values_of(metric, generation())) == 2


def test_another_model_has_captions_of_its_own(folder: Path, copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    tensors["text_projection.weight"] *= torch.linspace(-1, 1, 16)[
        : len(tensors["text_projection.weight"]), None
    ]
    save_file(tensors, copy / WEIGHTS, metadata={"format": "pt"})
    metric = prepared(folder)
    first = values_of(metric, generation())
    metric.prepare(suite_view(suite_at(copy.parent)), CPU)
    assert values_of(metric, generation()) == values_of(prepared(copy), generation()) != first


# Faults


def test_a_suite_without_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DoribError, match="has no CLIP; name one as clip:model="):
        Clip(ClipParams()).prepare(suite_view(suite_at(tmp_path, clip=None)), CPU)


@pytest.mark.parametrize("file", [WEIGHTS, "config.json", "preprocessor_config.json"])
def test_a_missing_file_is_one_clear_line(copy: Path, file: str) -> None:
    (copy / file).unlink()
    with pytest.raises(DoribError, match=r"metric clip: .*(cannot be loaded|restore)") as caught:
        prepared(copy)
    assert "\n" not in str(caught.value)


def test_truncated_weights_are_refused(copy: Path) -> None:
    content = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(DoribError, match="safetensors"):
        prepared(copy)


def test_pickled_weights_are_not_read(copy: Path) -> None:
    torch.save(load_file(copy / WEIGHTS), copy / "pytorch_model.bin")
    (copy / WEIGHTS).unlink()
    with pytest.raises(DoribError, match="safetensors"):
        prepared(copy)


def test_a_missing_tokenizer_is_not_made_up(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(DoribError, match=r"a tokenizer with \d of the model's 514 tokens"):
        prepared(copy)


def test_another_kind_of_model_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(DoribError, match="it is of type bert"):
        prepared(copy)


def test_weights_of_another_shape_are_not_made_up(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["projection_dim"] = 8
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(DoribError, match=r"lacks 2 of .* text_projection\.weight among"):
        prepared(copy)


def test_absent_weights_are_not_made_up(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tensors = load_file(copy / WEIGHTS)
    del tensors["visual_projection.weight"]
    save_file(tensors, copy / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(DoribError, match=r"lacks 1 of .* visual_projection\.weight among"):
        prepared(copy)
    assert "visual_projection" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", ["size", "crop_size"])
def test_preprocessing_that_is_not_clip_s_is_refused(copy: Path, name: str) -> None:
    path = copy / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: {"longest_edge": 32}}))
    with pytest.raises(DoribError, match="image preprocessing cannot be followed"):
        prepared(copy)


# Preprocessing


@pytest.mark.parametrize("resample", [2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {"size": {"shortest_edge": 24}, "crop_size": {"height": 20, "width": 22}},
        {"size": {"height": 40, "width": 24}, "do_center_crop": False},
        {"do_resize": False, "crop_size": {"height": 21, "width": 30}},
        {"do_resize": False, "do_center_crop": False, "do_normalize": False},
    ],
)
@pytest.mark.parametrize("content", ["grey noise", "stripes"])
def test_preprocessing_is_transformers_up_to_rounding(
    settings: dict[str, Any], resample: int, content: str
) -> None:
    """Pillow rounds to 8 bits after each axis: 0.5 / 255, the first amplified by at most 1.25.

    It clips there as well, which greys do not reach, and which stripes reach in one axis only.
    """
    config = settings | {"resample": resample}
    pixels = np.random.default_rng(0).integers(64, 192, (48, 71, 3), dtype=np.uint8)
    if content == "stripes":
        pixels = np.tile(np.where(np.arange(71) % 9 < 5, 255, 0)[:, None], (48, 1, 3))
    pixels = pixels.astype(np.uint8)
    wanted = CLIPImageProcessorPil(**config)(Image.fromarray(pixels), return_tensors="pt")
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    found = Preprocessing.from_config(config, "here")(images)
    assert found.shape == wanted["pixel_values"].shape
    scale = 1 if "do_normalize" in settings else min(CLIP_STD)
    difference = (found - wanted["pixel_values"]).abs().max().item()
    assert difference <= (0.5 * 1.25 + 0.5) / 255 / scale + 1e-5


def test_preprocessing_of_old_configurations() -> None:
    """`size` and `crop_size` as plain numbers, and what is left out as CLIP has it."""
    found = Preprocessing.from_config({"size": 224, "crop_size": 224}, "here")
    assert found == Preprocessing(224, None, "bicubic", (224, 224), CLIP_MEAN, CLIP_STD)
    assert Preprocessing.from_config({}, "here") == found


def test_a_crop_larger_than_the_image_is_refused() -> None:
    config = {"do_resize": False, "crop_size": 64}
    with pytest.raises(DoribError, match="smaller than the model's crop of 64 x 64"):
        Preprocessing.from_config(config, "here")(pictures(1, 0, side=32))


@pytest.mark.parametrize("first", range(3))
def test_a_value_does_not_tell_what_was_measured_before(folder: Path, first: int) -> None:
    """Two runs that share their batches measure them in any order."""
    captions = ["a red star", "small blue ring", "moon over the sea", "a tree"]
    shown = [generation(c, o, seed=n) for n, (c, o) in enumerate(pairwise(captions))]
    in_order, out_of_order = prepared(folder), prepared(folder)
    [expected] = [list(in_order.measure([one])) for one in shown][first : first + 1]
    assert list(out_of_order.measure([shown[first]])) == expected
