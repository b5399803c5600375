"""Every public object's repr fits a line, whatever it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dorib
from conftest import MakeModel
from dorib.ranking.entries import read_entry
from dorib.reprs import WIDTH, in_one_line

ROOT = Path(__file__).parents[1]
LAYERS = [f"down_blocks.{n}.attentions.0.transformer_blocks.0.attn2.to_v" for n in range(20)]
ENTRY = read_entry(next((ROOT / "leaderboards/tiny-4.1/entries").glob("wanda*dori*.json")))


def target(sample: str) -> dorib.Target:
    return dorib.Target(sample, 0, "a caption " * 30, torch.zeros(3, 64, 64), ["other"] * 500)


OBJECTS: list[Any] = [
    dorib.ScaleOutputs({layer: torch.zeros(320) for layer in LAYERS}),
    dorib.MaskWeights({layer: (torch.arange(5),) for layer in LAYERS}),
    dorib.ReplaceWeights({layer: torch.zeros(3, 3) for layer in LAYERS}),
    dorib.SamplingRule("noise" * 30, {"words": ["one"] * 100}),
    dorib.Edit(dorib.MaskWeights({layer: (torch.arange(5),) for layer in LAYERS})),
    dorib.Edit(None, notes={f"note {n}": "text" * 50 for n in range(30)}),
    dorib.Trigger("sample", 24, embeddings={"prompt_embeds": torch.zeros(77, 768)}),
    dorib.Trigger("s" * 64, 24, prompt="a prompt\n" * 50, trace=(0.5,) * 400),
    dorib.Seeds(0, ("search", "dori", *map(str, range(50)))),
    dorib.Ledger(),
    target("sample"),
    dorib.DefenderView([target(str(n)) for n in range(20)], ["caption"] * 500),
    dorib.Generation("sample", "caption", (0, 1), torch.zeros(2, 3, 8, 8), torch.zeros(1, 3, 8, 8)),
    dorib.MethodSpec(name="wanda", params={f"parameter-{n}": n for n in range(40)}),
    ENTRY,
    ENTRY.memorization_rate,
    dorib.load_suite("tiny"),
    dorib.load_suite("tiny").samples[0],
    dorib.open(ROOT / "leaderboards" / "tiny-4.1"),
    dorib.open(ROOT / "leaderboards" / "tiny-4.1").leaderboard,
    dorib.Record(
        mitigation="wanda",
        attack=None,
        budget=0,
        role="utility",
        sample=None,
        cluster=None,
        seed=None,
        metric="clip",
        value=None,
        error="it exploded " * 100,
    ),
]


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: type(item).__name__)
def test_a_repr_fits_a_line(item: Any) -> None:
    text = repr(item)
    assert text.startswith(type(item).__name__ + "(") and text.endswith(")")
    assert len(text) <= WIDTH
    assert text.isprintable()
    assert "tensor(" not in text


def test_a_ledger_at_work_fits_a_line() -> None:
    ledger = dorib.Ledger()
    ledger.add_forward(list(range(500)))
    assert len(repr(ledger)) <= WIDTH


def test_a_repr_tells_what_there_is(make_model: MakeModel) -> None:
    edit = dorib.Edit(dorib.ScaleOutputs({"to_v": torch.zeros(2, 32)}), "per_sample", ("a", "b"))
    start = "Edit(change=ScaleOutputs(scales={'to_v': float32[2, 32]}), scope='per_sample'"
    assert repr(edit).startswith(start)
    many = dorib.ReplaceWeights({layer: torch.zeros(3, 3) for layer in LAYERS})
    assert repr(many) == "ReplaceWeights(weights={20 items})"
    embeddings = {"prompt_embeds": torch.zeros(77, 768)}
    assert "float32[77, 768]" in repr(dorib.Trigger("cat", 24, embeddings=embeddings))
    assert repr(dorib.Seeds(3, ("fit",))) == "Seeds(root=3, scope=('fit',))"
    model = repr(make_model())
    assert model.startswith("DiffusersModel(height=32, width=32, prediction_type='v_prediction'")
    assert model.endswith("dtype='float32', device='cpu')")


NAMES = st.from_regex(r"[a-z]{1,30}", fullmatch=True)


@given(st.dictionaries(NAMES, st.integers(0, 10**9)))
def test_facts_are_cut_at_the_end_and_only_where_they_must_be(facts: dict[str, int]) -> None:
    line = in_one_line("Facts", **facts)
    whole = f"Facts({', '.join(f'{name}={value}' for name, value in facts.items())})"
    if len(whole) <= WIDTH:
        assert line == whole
    else:
        assert len(line) <= WIDTH
        assert line.endswith("...)")
        assert whole.startswith(line.removesuffix("...)"))


@given(st.text(min_size=1))
def test_a_fact_from_outside_stays_in_the_line(text: str) -> None:
    line = in_one_line("Facts", text=text, mapping={text: [text] * 9})
    assert len(line) <= WIDTH
    assert line.isprintable()
