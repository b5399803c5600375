import copy
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from dorib import DefenderView, DoribError, Ledger, Seeds, Target, TargetModel
from dorib.host.registry import discover
from dorib.target.model import DiffusersModel
from dorib_reference import ReferenceParams
from dorib_reference.attacks import OwnPrompt
from dorib_reference.mitigations import Retrained, Unmitigated


def targets_of(model: TargetModel) -> list[Target]:
    original = torch.rand(3, model.sampling.height, model.sampling.width)
    return [Target("a", 0, "a red star", original), Target("b", 1, "a blue ring", original)]


def raw_output(model: TargetModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, *model.latent_shape, generator=generator)
    embeddings = model.encode_prompt(["a red star"])
    index = torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        return model.predict(latents, torch.tensor([500]), embeddings, index)


@pytest.mark.parametrize("package", ["dorib_reference", "dorib_wanda", "dorib_dori"])
def test_plugin_registers_without_torch(package: str) -> None:
    code = f"import sys, {package}; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.parametrize(
    ("package", "names"),
    [
        (
            "dorib_reference",
            {("mitigation", "none"), ("mitigation", "retrain"), ("attack", "none")},
        ),
        ("dorib_wanda", {("mitigation", "wanda")}),
        ("dorib_dori", {("attack", "dori")}),
    ],
)
def test_registered_classes_load(package: str, names: set[tuple[str, str]]) -> None:
    registry = discover([EntryPoint(package, package, "dorib")])
    assert registry.broken == []
    assert set(registry.registrations) == names
    for registration in registry.registrations.values():
        registration.load()(registration.params())
        assert registration.summary
        assert all(field.description for field in registration.params.model_fields.values())


def test_unmitigated_changes_nothing(tiny_model: TargetModel) -> None:
    view = DefenderView(targets_of(tiny_model), ())
    edit = Unmitigated(ReferenceParams()).fit(tiny_model, view, Seeds(), Ledger())
    before = raw_output(tiny_model)
    with tiny_model.edited(edit):
        assert torch.equal(raw_output(tiny_model), before)


def test_retrained_computes_what_the_oracle_computes(
    tiny_model: TargetModel, tmp_path: Path
) -> None:
    oracle = copy.deepcopy(tiny_model.pipeline)
    generator = torch.Generator().manual_seed(1)
    for parameter in oracle.unet.parameters():
        parameter.data += 0.01 * torch.randn(parameter.shape, generator=generator)
    oracle.unet.save_pretrained(tmp_path)
    expected = raw_output(DiffusersModel(oracle, tiny_model.sampling))

    view = DefenderView(targets_of(tiny_model), (), oracle=tmp_path)
    before = raw_output(tiny_model)
    edit = Retrained(ReferenceParams()).fit(tiny_model, view, Seeds(), Ledger())
    with tiny_model.edited(edit):
        for name, parameter in tiny_model.unet.named_parameters():
            assert torch.equal(parameter, oracle.unet.get_parameter(name))
        torch.testing.assert_close(raw_output(tiny_model), expected)
    assert torch.equal(raw_output(tiny_model), before)
    assert not torch.allclose(expected, before, atol=1e-3)


def test_retrain_without_an_oracle_says_what_to_do(tiny_model: TargetModel) -> None:
    view = DefenderView(targets_of(tiny_model), ())
    with pytest.raises(DoribError, match="no oracle"):
        Retrained(ReferenceParams()).fit(tiny_model, view, Seeds(), Ledger())


def test_own_prompt_is_the_trigger(tiny_model: TargetModel) -> None:
    targets, ledger = targets_of(tiny_model), Ledger()
    attack = OwnPrompt(ReferenceParams())
    assert not attack.searches
    with tiny_model.counting(ledger):
        triggers = list(attack.search(tiny_model, targets, (0,), Seeds(), ledger))
    assert [(t.sample, t.budget, t.work) for t in triggers] == [("a", 0, 0), ("b", 0, 0)]
    assert [t.prompt for t in triggers] == ["a red star", "a blue ring"]
    assert ledger.work == 0
