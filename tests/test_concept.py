"""Concept erasure: UCE against a float64 transcription of the published formula."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dorib import (
    DefenderView,
    DoribError,
    Edit,
    Ledger,
    MethodSpec,
    ReplaceWeights,
    Seeds,
    Target,
    TargetModel,
)
from dorib.config import make_config
from dorib.contracts.suite_view import SamplingSettings
from dorib.host.configure import configure
from dorib.host.registry import Registry, discover
from dorib.runner import run
from dorib.target.model import DiffusersModel
from dorib.testing import sdxl

ERASED = ("a red star", "one cat")
GENERAL = ("cubes", "the sea", "a dog", "green hills")
SEEDS = Seeds(3)
Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([*entry_points(group="dorib")])


@pytest.fixture(scope="module", params=["epsilon", "v_prediction", "sdxl"])
def model(request: pytest.FixtureRequest, make_model: Any) -> DiffusersModel:
    if request.param != "sdxl":
        made: DiffusersModel = make_model(request.param)
        return made
    settings = SamplingSettings(height=32, width=48, steps=3, guidance_scale=3.0)
    return DiffusersModel(sdxl.pipeline(), settings)


def view_of(
    model: TargetModel, erased: tuple[str, ...] = ERASED, general: tuple[str, ...] = GENERAL
) -> DefenderView:
    original = torch.rand(
        3, model.sampling.height, model.sampling.width, generator=torch.Generator().manual_seed(0)
    )
    return DefenderView([Target(c, i, c, original) for i, c in enumerate(erased)], general)


def fitted(
    model: TargetModel, registry: Registry, view: DefenderView | None = None, **params: Any
) -> Edit:
    method = configure(registry, "mitigation", MethodSpec(name="concept", params=params))
    ledger = Ledger()
    with model.counting(ledger):
        edit = method.mitigation.fit(model, view or view_of(model), SEEDS, ledger)
    assert ledger.work == 0
    return edit


def read(model: TargetModel, captions: tuple[str, ...], last: bool = False) -> Floats:
    """A row for each vector."""
    vectors = model.encode_prompt(captions)["prompt_embeds"].double()
    if last:
        lengths = model.tokenize(captions).lengths
        return torch.stack([v[n - 2] for v, n in zip(vectors, lengths, strict=True)]).numpy()
    return vectors.flatten(0, 1).numpy()


def maps(model: TargetModel) -> dict[str, Floats]:
    """Those that read captions, by the name of their weight."""
    endings = ("attn2.to_k.weight", "attn2.to_v.weight")
    weights = model.weights().items()
    return {name: w.double().numpy() for name, w in weights if name.endswith(endings)}


def published(
    old: Floats, erased: Floats, wanted: Floats, kept: Floats, scales: tuple[float, float, float]
) -> Floats:
    """(ridge W + sum v c' + sum W p p') (ridge I + sum c c' + sum p p')^-1, term by term."""
    erase, preserve, ridge = scales
    left, right = ridge * old, ridge * np.eye(old.shape[1])
    for c, a in zip(erased, wanted, strict=True):
        left, right = left + erase * np.outer(old @ a, c), right + erase * np.outer(c, c)
    for p in kept:
        left, right = left + preserve * np.outer(old @ p, p), right + preserve * np.outer(p, p)
    new: Floats = left @ np.linalg.inv(right)
    return new


@pytest.mark.parametrize("tokens", ["all", "last"])
@pytest.mark.parametrize("scales", [(1.0, 1.0, 0.5), (3.0, 0.25, 2.0)])
def test_every_map_is_the_published_formulas(
    model: DiffusersModel, registry: Registry, tokens: str, scales: tuple[float, float, float]
) -> None:
    erase, preserve, ridge = scales
    edit = fitted(
        model, registry, tokens=tokens, erase_scale=erase, preserve_scale=preserve, ridge=ridge
    )
    assert isinstance(edit.change, ReplaceWeights)
    old, last = maps(model), tokens == "last"
    assert edit.change.weights.keys() == old.keys()
    empty = tuple("" for _ in ERASED)
    given = (read(model, ERASED, last), read(model, empty, last), read(model, GENERAL, last))
    for name, weight in edit.change.weights.items():
        wanted = published(old[name], *given, scales)
        assert np.abs(weight.double().numpy() - wanted).max() < 1e-5, name


def test_erased_values_become_the_anchors_and_others_stay_as_published(
    model: DiffusersModel, registry: Registry
) -> None:
    """Where the erased vectors are fewer than their width and weigh enough, to 1e-4; the preserved
    ones within what the published formula leaves of them, in float64."""
    view, scale = view_of(model, ERASED[:1]), 1e7
    edit = fitted(model, registry, view, erase_scale=scale)
    erased, wanted, kept = (read(model, texts) for texts in (ERASED[:1], ("",), GENERAL))
    before, after = maps(model), {}
    with model.edited(edit):
        after = maps(model)
    for name, old in before.items():
        assert np.abs(erased @ old.T - wanted @ old.T).max() > 1e-2
        assert np.abs(erased @ after[name].T - wanted @ old.T).max() < 1e-4
        reference = published(old, erased, wanted, kept, (scale, 1.0, 0.5))
        left = np.linalg.norm(kept @ (reference - old).T)
        assert np.linalg.norm(kept @ (after[name] - old).T) <= left + 1e-4


def test_what_is_erased_is_drawn_as_the_anchor_and_nothing_else_is_read_so(
    tiny_model: DiffusersModel, registry: Registry
) -> None:
    """The whole model, and not its maps alone: a caption's output is that of no prompt."""

    def output(caption: str) -> torch.Tensor:
        latents = torch.ones(1, *tiny_model.latent_shape)
        embeddings = tiny_model.encode_prompt([caption])
        at = torch.tensor([400])
        return tiny_model.predict(latents, at, embeddings, torch.tensor([0]))

    erased, empty = output(ERASED[0]), output("")
    view = view_of(tiny_model, ERASED[:1])
    with tiny_model.edited(fitted(tiny_model, registry, view, erase_scale=1e7)):
        assert torch.allclose(output(ERASED[0]), empty, atol=1e-4)
        assert not torch.allclose(output(GENERAL[0]), empty, atol=1e-4)
    assert not torch.allclose(erased, empty, atol=1e-4)


def test_notes_say_what_is_left(tiny_model: DiffusersModel, registry: Registry) -> None:
    left, moved = {}, {}
    for scale in (0.01, 1.0, 100.0):
        notes = fitted(tiny_model, registry, erase_scale=scale).notes
        left[scale], moved[scale] = notes["erased_left"], notes["preserved_moved"]
    assert 1 > left[0.01] > left[1.0] > left[100.0] > 0
    assert 0 < moved[0.01] < moved[1.0] < moved[100.0]
    assert fitted(tiny_model, registry, preserve=0).notes["preserved_moved"] == 0


def test_general_anchors_are_each_captions_own_lot(
    tiny_model: DiffusersModel, registry: Registry
) -> None:
    """Of one caption erased alone, whatever it is, one general caption is the anchor."""
    [name, *_] = maps(tiny_model)
    anchors = set()
    for caption in (*ERASED, "a tree", "sand", "blue", "it is"):
        view = view_of(tiny_model, (caption,))
        edit = fitted(tiny_model, registry, view, anchor="general", erase_scale=1e7, preserve=0)
        with tiny_model.edited(edit):
            values = read(tiny_model, (caption,)) @ maps(tiny_model)[name].T
        old = maps(tiny_model)[name]
        [anchor] = [
            g for g in GENERAL if np.allclose(values, read(tiny_model, (g,)) @ old.T, atol=1e-4)
        ]
        anchors.add(anchor)
    assert len(anchors) > 1


@pytest.mark.parametrize("params", [{}, {"preserve": 0, "anchor": "general"}])
def test_a_suite_without_general_captions_is_told_what_to_do(
    tiny_model: DiffusersModel, registry: Registry, params: dict[str, Any]
) -> None:
    view = view_of(tiny_model, general=ERASED)
    with pytest.raises(DoribError, match="no general captions; add some, or set"):
        fitted(tiny_model, registry, view, **params)


def test_a_whole_run(tiny_suite_folder: Path, tmp_path: Path, registry: Registry) -> None:
    config = {
        "suite": str(tiny_suite_folder),
        "out": str(tmp_path),
        "mitigation": ["concept", "quantize:base=concept"],
        "attack": ["none"],
        "metric": ["sscd"],
        "limit": 1,
    }
    result = run(make_config(config), registry)
    assert not result.failed
    assert all(entry.errors == 0 for entry in result.entries)
