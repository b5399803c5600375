"""Triggers as data: saved, loaded, refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dorib.contracts.edits import AddLowRank, Edit
from dorib.contracts.triggers import ImageStart, Trigger, load_trigger, save_trigger
from dorib.errors import DoribError


def embedding(dtype: torch.dtype = torch.float32) -> Trigger:
    tensor = torch.randn((16, 8), generator=torch.Generator().manual_seed(0)).to(dtype)
    return Trigger("cat", 48, 1, {"prompt_embeds": tensor}, loss=0.25, trace=(0.5, 0.25), work=48)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_embedding_survives_the_disk(tmp_path: Path, dtype: torch.dtype) -> None:
    trigger = embedding(dtype)
    save_trigger(trigger, tmp_path)
    loaded = load_trigger(tmp_path)
    assert torch.equal(loaded.embeddings["prompt_embeds"], trigger.embeddings["prompt_embeds"])
    assert loaded.embeddings["prompt_embeds"].dtype == dtype
    for field in ("sample", "budget", "restart", "loss", "trace", "work", "prompt"):
        assert getattr(loaded, field) == getattr(trigger, field)


def test_a_prompt_survives_the_disk(tmp_path: Path) -> None:
    trigger = Trigger("cat", 0, prompt="café \u2028 in two lines")
    save_trigger(trigger, tmp_path)
    assert load_trigger(tmp_path) == trigger


def test_a_trigger_is_either_embeddings_or_a_prompt() -> None:
    for contradiction in ({}, {"prompt": "a", "embeddings": {"prompt_embeds": torch.ones(1)}}):
        with pytest.raises(ValueError, match="either"):
            Trigger("cat", 0, **contradiction)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no description": lambda folder: (folder / "trigger.json").unlink(),
    "no JSON": lambda folder: (folder / "trigger.json").write_text("{"),
    "no mapping": lambda folder: (folder / "trigger.json").write_text("[]"),
    "unknown entry": lambda folder: (folder / "trigger.json").write_text('{"trace": [], "x": 1}'),
    "no tensors": lambda folder: (folder / "trigger.safetensors").unlink(),
    "tensors cut off": lambda folder: (folder / "trigger.safetensors").write_bytes(b"\x08"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_trigger_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    save_trigger(embedding(), tmp_path)
    DAMAGES[damage](tmp_path)
    with pytest.raises(DoribError, match="not a readable trigger") as refusal:
        load_trigger(tmp_path)
    assert str(tmp_path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_token_ids_come_with_their_prompt(tmp_path: Path) -> None:
    trigger = Trigger("cat", 8, prompt="a cat", tokens=(3, 4), encodes_back=False)
    save_trigger(trigger, tmp_path)
    assert load_trigger(tmp_path) == trigger
    assert trigger.kind == "tokens"
    with pytest.raises(ValueError, match="token ids come with the prompt"):
        Trigger("cat", 8, embeddings={"prompt_embeds": torch.ones(1)}, tokens=(3,))


def test_an_image_start_survives_the_disk(tmp_path: Path) -> None:
    latents = torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(0))
    trigger = Trigger("cat", 8, prompt="a cat", start=ImageStart(latents, 0.5))
    save_trigger(trigger, tmp_path)
    loaded = load_trigger(tmp_path)
    assert loaded.start is not None
    assert torch.equal(loaded.start.latents, latents)
    assert loaded.start.strength == 0.5
    assert loaded.kind == "image start"
    assert not loaded.embeddings


@pytest.mark.parametrize("strength", [0.0, -1.0, 1.5, float("nan")])
def test_a_strength_is_a_share_of_the_steps(strength: float) -> None:
    with pytest.raises(ValueError, match=r"lies in \(0, 1\]"):
        ImageStart(torch.zeros(4, 8, 8), strength)


def test_an_edit_on_top_survives_the_disk(tmp_path: Path) -> None:
    edit = Edit(AddLowRank({"conv_in": (torch.ones(4, 1), torch.ones(1, 9))}))
    save_trigger(Trigger("cat", 8, prompt="a cat", edit=edit), tmp_path)
    loaded = load_trigger(tmp_path)
    assert loaded.kind == "edit"
    assert loaded.edit is not None
    assert isinstance(loaded.edit.change, AddLowRank)
    assert torch.equal(loaded.edit.change.factors["conv_in"][1], torch.ones(1, 9))
    with pytest.raises(ValueError, match="an image start or an edit"):
        Trigger("cat", 8, prompt="a", edit=edit, start=ImageStart(torch.zeros(4, 8, 8), 1))
