"""What a plugin's author gets wrong is told in one line: what it is, where, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import dorib
from dorib.cli.app import BAD_INPUT, app
from dorib.contracts.registration import MethodKind
from dorib.host.configure import configure
from dorib.host.registry import Registry, discover

PLUGIN = """
from functools import partialmethod

import torch

from dorib import (
    Attack, Edit, Measured, MethodSpec, Metric, Mitigation, Params, Probe, Quantity, ScaleOutputs,
    Trigger, hookimpl,
)

dorib_contract = 2


class Judge(Metric[Params]):
    needs = frozenset({"generations"})
    quantities = {"one": Quantity("", "neither", "image")}

    def prepare(self, suite, device):
        pass

    def stack(self):
        return {}

    def measure(self, generations):
        return [[Measured("one", 1.0, seed) for seed in g.seeds] for g in generations]


class Upward(Judge):
    quantities = {"one": Quantity("", "up", "image")}


class Pictured(Judge):
    quantities = {"one": Quantity("", "neither", "picture")}


class Unitless(Judge):
    quantities = {"one": Quantity(None, "neither", "image")}


class Decided(Judge):
    @property
    def quantities(self):
        return {"one": Quantity("", "up", "image")}


class Needless(Judge):
    needs = frozenset()


class Celled(Judge):
    quantities = {"one": Quantity("", "neither", "cell")}


class Short(Judge):
    quantities = {"short": Quantity("", "neither", "image")}

    def measure(self, generations):
        return [[] for _ in generations][:-1]


class Silent(Judge):
    quantities = {"silent": Quantity("", "neither", "image")}

    def measure(self, generations):
        return None


class Flat(Judge):
    quantities = {"flat": Quantity("", "neither", "image")}

    def measure(self, generations):
        return [Measured("flat", 1.0, g.seeds[0]) for g in generations]


class Finder(Attack[Params]):
    knows = frozenset({"prompt"})

    def search(self, model, targets, budgets, seeds, ledger):
        for target in targets:
            for budget in budgets:
                yield self.trigger(target, budget)

    def trigger(self, target, budget, loss=None):
        return Trigger(sample=target.sample, budget=budget, prompt=target.caption, loss=loss)


class Named(Finder):
    conditioning = "prompt_embeds"


class Replaying(Finder):
    replays = "dori"


class Built(Finder):
    def builds_on(self):
        return {"x": "dori"}


class Raising(Finder):
    def builds_on(self):
        raise KeyError("lost")


class Twice(Finder):
    def search(self, model, targets, budgets, seeds, ledger):
        for target in targets:
            for budget in budgets:
                yield self.trigger(target, budget, 1.0)
                yield self.trigger(target, budget, 0.0)


class Nothing(Finder):
    def search(self, model, targets, budgets, seeds, ledger):
        return None


class Bounded(Finder):
    def search(self, model, targets, budget, *, seeds, ledger):
        return iter(())


class Around(Finder):
    def search(self, model, targets, budgets, seeds, ledger):
        with torch.no_grad():
            hidden = model.encode_prompt([""])["prompt_embeds"]
            model.unet(torch.zeros(1, *model.latent_shape), 5, hidden)
        yield from super().search(model, targets, budgets, seeds, ledger)


class Empty(Mitigation[Params]):
    def fit(self, model, view, seeds, ledger):
        return Edit(ScaleOutputs({}))


class Lacking(Mitigation[Params]):
    def fit(self, model, view):
        return Edit(None)


class Static(Mitigation[Params]):
    @staticmethod
    def fit(model, view, seeds, ledger):
        return Edit(None)


class Classwise(Mitigation[Params]):
    @classmethod
    def fit(cls, model, view, seeds, ledger):
        return Edit(None)


class Partial(Mitigation[Params]):
    def _fit(self, change, model, view, seeds, ledger):
        return Edit(change)

    fit = partialmethod(_fit, None)


class Forwarding(Mitigation[Params]):
    def fit(self, *arguments, **named):
        return Edit(None)


class Replaced(Mitigation[Params]):
    fit = None


class Guessing(Empty):
    def planned(self, scale):
        return 1 // 0


class Careless(Mitigation[Params]):
    def fit(self, model, view, seeds, ledger):
        return self.rows([])

    def rows(self, found):
        return found[0]


class Words(Probe[Params]):
    knows = frozenset({"prompt"})

    def score(self, model, targets, seeds, ledger):
        return ["1" for _ in targets]


class Few(Words):
    def score(self, model, targets, seeds, ledger):
        return torch.ones(len(targets))


@hookimpl
def register_metrics(register):
    for kind in (Upward, Pictured, Unitless, Decided, Needless, Celled, Short, Silent, Flat):
        register(kind.__name__.lower(), f"declaring:{kind.__name__}")


@hookimpl
def register_attacks(register):
    for kind in (Finder, Named, Replaying, Built, Raising, Twice, Nothing, Bounded, Around):
        register(kind.__name__.lower(), f"declaring:{kind.__name__}")
    register("misspelt", "declaring:Fynder")
    register("classless", "declaring.Finder")


@hookimpl
def register_mitigations(register):
    for kind in (Static, Classwise, Partial, Forwarding):
        register(kind.__name__.lower(), f"declaring:{kind.__name__}")
    for kind in (Empty, Lacking, Replaced, Guessing, Careless):
        register(kind.__name__.lower(), f"declaring:{kind.__name__}")


@hookimpl
def register_probes(register):
    register("words", "declaring:Words")
    register("few", "declaring:Few")
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugins") / "declaring.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture(scope="module")
def registry(plugin: Path) -> Registry:
    return discover(files=[plugin])


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("metric", "upward", "with the direction 'up', which is none of 'lower is better'"),
        ("metric", "decided", "with the direction 'up', which is none of 'lower is better'"),
        ("metric", "pictured", "with the level 'picture', which is none of 'image'"),
        ("metric", "unitless", "with the unit None: give text"),
        ("metric", "needless", "needs nothing, and so is asked about nothing"),
        ("metric", "celled", "has no `measure_cell` of its own: write it"),
        ("attack", "named", "declares no `conditioning`: a set of names of embeddings"),
        ("attack", "replaying", "replays 'dori', which is no role in its `builds_on`"),
        ("attack", "built", "builds on 'dori' as 'x': give"),
        ("attack", "raising", "cannot say what it builds on (KeyError('lost'))"),
        ("attack", "bounded", "take (self, model, targets, budgets, seeds, ledger)"),
        ("mitigation", "lacking", "a `fit` that cannot be called with its arguments: take (self"),
        ("mitigation", "replaced", "a `fit` that is no method: write `def fit(...)`"),
        ("attack", "misspelt", "no attribute 'Fynder'"),
        ("attack", "classless", "write it `module:Class`"),
    ],
)
def test_a_wrong_declaration_is_told_before_any_work(
    registry: Registry, kind: MethodKind, name: str, said: str
) -> None:
    with pytest.raises(dorib.DoribError) as refusal:
        configure(registry, kind, dorib.MethodSpec(name=name))
    told = str(refusal.value)
    assert said in told
    assert told.endswith("; mend the file")
    assert "\n" not in told


@pytest.mark.parametrize("name", ["static", "classwise", "partial", "forwarding"])
def test_every_way_to_write_a_method_is_taken(registry: Registry, name: str) -> None:
    assert configure(registry, "mitigation", dorib.MethodSpec(name=name)).name == name


def test_it_ends_a_run_with_one_line(tiny_suite_folder: Path, plugin: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["run", "--plugin", str(plugin), "--suite", str(tiny_suite_folder), "--out"]
    ended = CliRunner().invoke(app, [*arguments, str(out), "-a", "none", "--metric", "upward"])
    assert ended.exit_code == BAD_INPUT or isinstance(ended.exception, dorib.DoribError)
    assert not out.exists()


@pytest.fixture(scope="module")
def told(
    tiny_suite_folder: Path, plugin: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ...]:
    """All that a run says of methods that hand over the wrong things."""
    from dorib.config import make_config
    from dorib.reporting import Silent
    from dorib.runner import run

    said: list[str] = []

    class Heard(Silent):
        def note(self, text: str) -> None:
            said.append(text)

        def failure(self, text: str, error: BaseException) -> None:
            said.append(text)

    config = {
        "suite": str(tiny_suite_folder),
        "out": str(tmp_path_factory.mktemp("out")),
        "mitigation": ["empty", "guessing", "careless"],
        "attack": ["twice", "nothing", "around"],
        "metric": ["short", "silent", "flat"],
        "probe": ["words", "few"],
        "budgets": [24],
        "seeds": 1,
        "limit": 2,
    }
    run(make_config(config), discover(files=[plugin]), Heard())
    return tuple(said)


@pytest.mark.parametrize(
    "said",
    [
        "attack twice (plugin declaring): search yielded a second trigger for ",
        "attack nothing (plugin declaring): search returned a NoneType; yield triggers",
        "attack around (plugin declaring) calls the U-Net around the target model: ",
        "metric short (plugin declaring): measure gave 3 results for 4 generations",
        "metric silent (plugin declaring): measure returned a NoneType",
        "metric flat (plugin declaring): measure gave 4 results for 4 generations; give a list",
        "mitigation empty (plugin declaring): no layer and no weight is in its edit",
        "(plugin declaring): IndexError: list index out of range (declaring.py:LINE)",
        "mitigation guessing (plugin declaring): ZeroDivisionError: ",
        "probe words (plugin declaring): score returned text in place of numbers",
        "probe few (plugin declaring): score returned 4 values in a Tensor; give a list of 4",
    ],
)
def test_what_is_handed_over_wrongly_is_told(told: tuple[str, ...], said: str) -> None:
    line = PLUGIN.splitlines().index("        return found[0]") + 1
    assert any(said.replace("LINE", str(line)) in one for one in told), told
