"""Edits that name a rule: data alone, looked up among what is registered."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
import torch

from dorib import DoribError, Edit, SamplingRule, TargetModel
from dorib.config import make_config
from dorib.contracts.edit_files import load_edit, load_outline, save_edit
from dorib.host.admission import AdmissionError
from dorib.host.registry import Registry, discover
from dorib.runner import run
from dorib.target.model import DiffusersModel
from fixtures.edits import global_edit

GENERATORS = [torch.Generator(), torch.Generator()]


@pytest.fixture(scope="module")
def registry() -> Registry:
    rules = EntryPoint("rules", "fixtures.rules", "dorib")
    return discover([*entry_points(group="dorib"), rules])


@pytest.fixture
def model(tiny_model: TargetModel, registry: Registry) -> TargetModel:
    return DiffusersModel(tiny_model.pipeline, tiny_model.sampling, registry)


def test_a_rule_survives_the_disk_as_data(tmp_path: Path) -> None:
    rule = SamplingRule("prompt-filter", {"substitutes": {"café \u2028": "a tree"}})
    save_edit(Edit(rule, notes={"known": 1}), tmp_path)
    assert load_edit(tmp_path) == Edit(rule, notes={"known": 1})
    assert load_outline(tmp_path).rules == (rule,)


def test_other_edits_name_no_rule(tiny_model: TargetModel, tmp_path: Path) -> None:
    for number, edit in enumerate([Edit(None), global_edit(tiny_model, "mask")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        save_edit(edit, folder)
        assert load_outline(folder).rules == ()


def test_a_rule_is_the_same_for_all_samples() -> None:
    with pytest.raises(ValueError, match="a sampling rule is global"):
        Edit(SamplingRule("prompt-filter", {}), "per_sample", ("a",))


@pytest.mark.parametrize(
    ("name", "params", "complaint"),
    [
        ("no-such-rule", {}, "unknown rule 'no-such-rule'; choose from: attention, "),
        ("os:system", {}, "unknown rule 'os:system'"),
        ("dori", {}, "unknown rule 'dori'"),
        ("opaque", {"command": "rm"}, "rule opaque: 'command': there is no such name"),
        ("prompt-filter", {"substitutes": ["a"]}, "rule prompt-filter: 'substitutes'"),
    ],
)
def test_what_is_not_registered_is_refused_when_it_is_installed(
    model: TargetModel, tmp_path: Path, name: str, params: dict[str, Any], complaint: str
) -> None:
    save_edit(Edit(SamplingRule(name, params)), tmp_path)
    edit = load_edit(tmp_path)
    with pytest.raises(DoribError, match=complaint), model.edited(edit):
        pytest.fail("was installed")
    with model.edited(Edit(None)):
        pass


@pytest.mark.parametrize("damage", [{"rule": None}, {"rule": {"name": "opaque"}}])
def test_a_damaged_rule_is_refused_in_one_line(tmp_path: Path, damage: dict[str, Any]) -> None:
    save_edit(Edit(SamplingRule("opaque", {})), tmp_path)
    path = tmp_path / "edit.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    for load in (load_edit, load_outline):
        with pytest.raises(DoribError, match="not a readable edit"):
            load(tmp_path)


def test_a_rule_cannot_lose_a_prompt(model: TargetModel) -> None:
    with (
        model.edited(Edit(SamplingRule("lossy", {}))),
        pytest.raises(AdmissionError, match="made 1 prompts out of 2"),
    ):
        model.encode_request(["a tree", "a star"], GENERATORS)


def test_without_a_rule_a_request_is_its_prompt(model: TargetModel) -> None:
    prompts = ["a tree", "a star"]
    plain = model.encode_prompt(prompts)["prompt_embeds"]
    assert torch.equal(model.encode_request(prompts, GENERATORS)["prompt_embeds"], plain)
    with model.edited(global_edit(model, "mask")):
        assert torch.equal(model.encode_request(prompts, GENERATORS)["prompt_embeds"], plain)


def test_a_search_that_does_not_feel_a_rule_is_not_adaptive(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    config = {
        "suite": str(tiny_suite_folder),
        "out": str(tmp_path),
        "mitigation": ["opaque", "clear"],
        "attack": ["dori", "transfer"],
        "metric": ["sscd"],
    }
    result = run(make_config(config), registry)
    entries = {(entry.mitigation.label, entry.attack.label): entry for entry in result.entries}
    for mitigation, adaptive in {"opaque": False, "clear": True}.items():
        entry = entries[mitigation, "dori"]
        assert entry.adaptive is adaptive
        assert entry.memorization_rate is not None
        assert entry.errors == 0
        assert not entry.bypass
        assert entries[mitigation, "none"].adaptive is None
    assert entries["none", "dori"].adaptive is None
    # What changes nothing finds what is found without it.
    assert entries["clear", "dori"].digests.images == entries["none", "dori"].digests.images
