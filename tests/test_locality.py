"""A locality study from its options to its page, on a tiny random suite."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from dorib import Advance, DoribError, Registry, Seeds, TargetModel, runner
from dorib.cli.app import main
from dorib.config import make_config
from dorib.host.registry import discover
from dorib_locality import page
from dorib_locality.activations import record
from dorib_locality.findings import Analysis, Findings, Group
from dorib_locality.locality_config import LocalityConfig
from dorib_locality.study import LocalityResult, study

WANDA = "wanda:scope=per_sample,sparsity=0.2"
FIGURES = ("embedding-space", "activations", "weights")


@dataclass
class Heard:
    """A reporter that remembers which verbs had work to do."""

    verbs: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        self.verbs.append((name, subject))
        yield lambda units: None

    def note(self, text: str) -> None:
        self.verbs.append(("note", text))

    def failure(self, text: str, error: BaseException) -> None:
        self.verbs.append(("failure", text))


@pytest.fixture(scope="module")
def registry(built_in_plugins: list[EntryPoint]) -> Registry:
    return discover([*built_in_plugins, EntryPoint("picking", "fixtures.picking", "dorib")])


def asked(suite: Path, out: Path, **changes: Any) -> LocalityConfig:
    small = {"budgets": [24], "starts": 2, "limit": 2, "seeds": 1, "timesteps": 2}
    methods = {"mitigation": ["picking", WANDA]}
    options = {"suite": str(suite), "out": out, **small, **methods, **changes}
    return LocalityConfig.model_validate(options)


@pytest.fixture(scope="module")
def stored(
    tiny_suite_folder: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The output folder of a run that has found the second start's triggers."""
    out = tmp_path_factory.mktemp("locality")
    run = {"attack": ["dori:start=random"], "metric": ["sscd"], "limit": 2, "seeds": 1}
    config = {"suite": str(tiny_suite_folder), "out": out, "budgets": [24], "root_seed": 1, **run}
    runner.run(make_config(config), registry)
    return out


@pytest.fixture(scope="module")
def first(
    stored: Path, tiny_suite_folder: Path, registry: Registry
) -> tuple[LocalityResult, Heard]:
    heard = Heard()
    config = asked(tiny_suite_folder, stored)
    return study(config, registry, heard), heard


def groups(analysis: Analysis) -> dict[str, Group]:
    assert analysis.weights is not None
    [picking, wanda] = analysis.weights.methods
    spread = analysis.embedding_space.spreads[0]
    return {
        "distances": spread.triggers_of_one_image,
        "moved": spread.from_start_to_trigger,
        "neurons": picking.triggers_of_one_image,
        "same trigger": picking.one_trigger_other_noise,
        "weights": wanda.triggers_of_different_images,
    }


def test_a_run_and_a_study_share_their_triggers(first: tuple[LocalityResult, Heard]) -> None:
    searched = [subject for name, subject in first[1].verbs if name == "attack"]
    assert searched == ["none x dori:start=random, start 1 of 2"]


def test_the_numbers_are_there_and_within_their_bounds(
    first: tuple[LocalityResult, Heard], tiny_model: TargetModel
) -> None:
    findings = first[0].findings
    assert len(findings.triggers) == 4
    assert not findings.failures
    assert {(t.sample, t.start) for t in findings.triggers} == {
        (f"test-memorized-{image}", start) for image in (0, 1) for start in (0, 1)
    }
    assert len({trigger.digest for trigger in findings.triggers}) == 4
    found = groups(findings.all)
    assert [group.n for group in found.values()] == [2, 4, 2, 4, 4]
    assert found["moved"].mean
    # What the embedding alone decides does not change with the randomness of the fit.
    assert found["same trigger"].values == (1, 1, 1, 1)
    for name in ("neurons", "weights"):
        assert all(0 <= value <= 1 for value in found[name].values)
    assert findings.all.weights
    [picking, wanda] = findings.all.weights.methods
    layers = tiny_model.cross_attention_value_layers()
    assert (picking.unit, picking.sizes.mean) == ("neurons", 3 * len(layers))
    assert picking.places == sum(layer.out_features for layer in layers.values())
    assert wanda.unit == "weights"
    [pair] = findings.all.weights.pairs
    assert pair.same_places is None
    assert len(pair.blocks) == len(layers)
    rows = findings.all.activations.layers
    assert len(rows) == 2 * len(layers) + 2 * 2 * len(tiny_model.feed_forward_layers())
    assert len(findings.all.activations.timesteps) == 2


def test_a_second_study_finds_everything_stored(
    first: tuple[LocalityResult, Heard], stored: Path, tiny_suite_folder: Path, registry: Registry
) -> None:
    result, heard = first[0], Heard()
    before = {path.name: path.read_bytes() for path in result.folder.iterdir()}
    again = study(asked(tiny_suite_folder, stored), registry, heard)
    assert [name for name, _ in heard.verbs] == ["record"]
    same = {"seconds": result.findings.seconds}
    assert again.findings.model_copy(update=same) == result.findings
    drawings = [f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png")]
    assert all((result.folder / name).read_bytes() == before[name] for name in drawings)


def test_what_is_written_can_be_read(first: tuple[LocalityResult, Heard]) -> None:
    result = first[0]
    read = Findings.model_validate_json(result.json.read_text())
    # A later study of the same may have written it again.
    assert read.model_copy(update={"seconds": result.findings.seconds}) == result.findings
    text = result.page.read_text()
    for name in FIGURES:
        assert f'src="{name}.png"' in text
        ElementTree.parse(result.folder / f"{name}.svg")
        with Image.open(result.folder / f"{name}.png") as picture:
            assert picture.width == 2100
            assert len(picture.convert("L").getcolors()) > 10
    assert "None" not in text
    assert "By L2 distance (panels d to f)" in text
    assert "empty picks left out / counted" in text
    assert "speak of the 4 successful triggers of 2 images" in " ".join(text.split())


def test_the_page_escapes_what_it_shows(first: tuple[LocalityResult, Heard]) -> None:
    findings = first[0].findings.model_copy(update={"suite": "<script>alert(1)</script>"})
    assert "<script>" not in page.render(findings, {name: name for name in FIGURES})


def test_successful_triggers_are_analysed_apart(first: tuple[LocalityResult, Heard]) -> None:
    """The suite's random descriptor takes every image for the original."""
    findings = first[0].findings
    assert all(trigger.replicates for trigger in findings.triggers)
    assert findings.successful is not None
    assert groups(findings.successful) == groups(findings.all)
    assert findings.shown is findings.successful


def test_a_mitigation_that_fails_or_picks_nothing_spoils_nothing(
    stored: Path, tiny_suite_folder: Path, registry: Registry
) -> None:
    methods = ["picking:fails=true", "picking:picks=0", WANDA]
    findings = study(asked(tiny_suite_folder, stored, mitigation=methods), registry).findings
    assert len(findings.failures) == 2 * 4 + 1
    assert all("the fit exploded" in reason for reason in findings.failures.values())
    assert findings.all.weights is not None
    [nothing, wanda] = findings.all.weights.methods
    assert (nothing.empty, nothing.triggers_of_one_image.n, nothing.random) == (4, 0, None)
    assert wanda.triggers_of_one_image.n == 2


def test_activations_are_what_the_layers_saw(tiny_model: TargetModel) -> None:
    prompts = tiny_model.encode_prompt(["a red star", "cat on a mat", "a red star"])
    embeddings = prompts["prompt_embeds"]

    def recorded(batch_size: int) -> Any:
        return record(
            tiny_model, embeddings, 2, 3, "mean", batch_size, Seeds(1), lambda units: None
        )  # fmt: skip

    ran_at: list[int] = []
    handle = tiny_model.unet.register_forward_pre_hook(  # type: ignore[attr-defined]
        lambda module, arguments: ran_at.append(int(arguments[1].reshape(-1)[0]))
    )
    found = recorded(6)
    handle.remove()
    singly = recorded(1)
    for name, layer in tiny_model.cross_attention_value_layers().items():
        expected = layer(embeddings).mean(dim=1).detach()
        torch.testing.assert_close(
            torch.tensor(found.value[name]).float(), expected, atol=1e-6, rtol=1e-5
        )
    assert list(found.timesteps) == [ran_at[step] for step in (0, 2, 3)]
    assert list(found.timesteps) == sorted(found.timesteps, reverse=True)
    for name, layer in tiny_model.feed_forward_layers().items():
        vectors = torch.tensor(found.feed_forward[name])
        assert vectors.shape == (3, 2, 3, layer.in_features)
        torch.testing.assert_close(vectors[0], vectors[2], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(vectors[0], vectors[1], atol=1e-4)
        assert not torch.allclose(vectors[0, 0], vectors[0, 1], atol=1e-4)
        alone = torch.tensor(singly.feed_forward[name])
        torch.testing.assert_close(alone, vectors, atol=1e-5, rtol=1e-4)
        assert not layer._forward_pre_hooks


REFUSED: dict[str, tuple[list[str], list[str]]] = {
    "global mitigation": (["-m", "wanda"], ["wanda", "scope=per_sample"]),
    "attack without search": (["-a", "none"], ["attack none", "searches nothing"]),
    "several attacks": (["-a", "all"], ["'attack'", "give one attack"]),
    "unknown attack": (["-a", "nosuch"], ["unknown attack 'nosuch'"]),
    "one start": (["--starts", "1"], ["'starts'", "greater than or equal to 2"]),
    "one image": (["--limit", "1"], ["raise --limit"]),
    "one noise": (["--noises", "1"], ["'noises'"]),
    "unknown reduction": (["--reduction", "median"], ["'reduction'", "mean_absolute"]),
    "metric that does not judge": (["--metric", "clip"], ["name sscd"]),
    "unknown split": (["--split", "nosuch"], ["choose from: dev, test"]),
    "budget too small": (["--budgets", "3"], ["buys no step"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line(
    case: str, tiny_suite_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given, words = REFUSED[case]
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as exit:
        main(["locality", "--suite", str(tiny_suite_folder), "--out", str(out), *given])
    printed = capfd.readouterr().err.splitlines()[-1]
    assert exit.value.code == 2, printed
    assert printed.startswith("dorib: error: ")
    assert not [word for word in words if word not in printed], printed
    assert not (out / "locality").exists()


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_a_missing_library_is_named_before_any_work(
    module: str,
    tiny_suite_folder: Path,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    config = asked(tiny_suite_folder, tmp_path / "out")
    with pytest.raises(DoribError, match=rf"{module} is missing.*dorib\[figures\]"):
        study(config, registry)
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_shows_and_where(
    first: tuple[LocalityResult, Heard],
    stored: Path,
    tiny_suite_folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    given = {"--suite": tiny_suite_folder, "--out": stored, "--budgets": "24", "--starts": "2"}
    small = {"--limit": "2", "--seeds": "1", "--timesteps": "1"}
    strict = {"--metric": "sscd:threshold=0.99999"}
    arguments = [str(part) for pair in {**given, **small, **strict}.items() for part in pair]
    with pytest.raises(SystemExit) as exit:
        main(["locality", *arguments])
    assert not exit.value.code
    printed = capfd.readouterr().out
    assert "0 of 4 triggers are successful; the figures show all" in printed
    [line] = [line for line in printed.splitlines() if line.startswith("page")]
    text = " ".join(Path(line.split()[1]).read_text().split())
    assert "text speak of all 4 triggers" in text
    assert "3. Weights" not in text
