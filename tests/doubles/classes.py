"""Classes that lack what their kind must declare: refused before any work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from dorib import (
    Attack,
    Embeddings,
    Ledger,
    Params,
    Probe,
    PromptRule,
    Quantity,
    Register,
    Rule,
    Seeds,
    Target,
    TargetModel,
    hookimpl,
)
from doubles.attacks import Double as GoodAttack
from doubles.metrics import Double as GoodMetric
from doubles.metrics import of_each_image

dorib_contract = 2


class NoKnowledge(Attack[Params]):
    expected = "declares no `knows`"

    def search(self, *arguments: Any) -> Any:
        return iter(())


class StrangeKnowledge(GoodAttack):
    expected = "declares knows 'everything', which is none of"
    knows = cast(Any, frozenset({"everything"}))


class ListOfKnowledge(GoodAttack):
    expected = "declares no `knows`"
    knows = cast(Any, ["prompt"])


class Unfinished(Attack[Params]):
    expected = "does not implement search"
    knows = frozenset({"prompt"})


class NoAttack:
    expected = "is no attack: it must be a subclass of Attack"


class RaisesWhenBuilt(GoodAttack):
    expected = "cannot be built (ZeroDivisionError"

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        _ = 1 // 0


class StrangeNeeds(GoodMetric):
    expected = "declares needs 'money', which is none of"
    needs = cast(Any, frozenset({"money"}))
    quantities = of_each_image("needy")


class NoQuantities(GoodMetric):
    expected = "declares no `quantities`"


class QuantitiesOfWords(GoodMetric):
    expected = "declares no `quantities`"
    quantities = cast(Any, {"value": "the higher the better"})


class TakesReplicates(GoodMetric):
    expected = "reports replicates, which is a built-in metric's alone"
    quantities: ClassVar[dict[str, Quantity]] = of_each_image("replicates")


class TakesAlignment(GoodMetric):
    expected = "reports clip_alignment, which is a built-in metric's alone"
    quantities: ClassVar[dict[str, Quantity]] = of_each_image("clip_alignment")


class ActsOnNoise(Rule[Params]):
    expected = "declares no `acts_on`: a set of 'prompt', 'embeddings', 'noise'"
    acts_on = cast(Any, "noise")


class ActsNowhere(Rule[Params]):
    expected = "declares no `acts_on`"


class ActsOnThoughts(Rule[Params]):
    expected = "declares acts_on 'thoughts', which is none of 'prompt'"
    acts_on = cast(Any, frozenset({"thoughts"}))


class ActsAtNoPlace(Rule[Params]):
    expected = "acts nowhere: name its places in `acts_on`"
    acts_on = frozenset()


class HidesItsPlace(Rule[Params]):
    expected = "has a `start` of its own and does not act on 'noise': add it to `acts_on`"
    acts_on = frozenset({"guidance"})

    def start(
        self, model: TargetModel, noise: Tensor, embeddings: Embeddings, samples: Tensor
    ) -> Tensor:
        return -noise


class NamesAPlaceForNothing(Rule[Params]):
    expected = "acts on 'attention' and has no `attending` of its own: write it"
    acts_on = frozenset({"attention"})


class StrangeFeelings(GoodAttack):
    expected = "declares feels 'pain', which is none of 'prompt'"
    feels = cast(Any, frozenset({"pain"}))


class NoKnowledgeOfProbes(Probe[Params]):
    expected = "declares no `knows`: a set of 'original image'"

    def score(
        self, model: TargetModel, targets: Sequence[Target], seeds: Seeds, ledger: Ledger
    ) -> Sequence[float]:
        return [0.0 for _ in targets]


class SilentOnGradients(PromptRule[Params]):
    expected = "does not say whether it `passes_gradients`"
    passes_gradients = cast(Any, None)

    def rewrite(
        self, model: TargetModel, prompts: Sequence[str], generators: Sequence[torch.Generator]
    ) -> list[str]:
        return list(prompts)


DOUBLES: dict[str, tuple[str, type[Any]]] = {
    "".join(f"-{c.lower()}" if c.isupper() else c for c in one.__name__).strip("-"): (kind, one)
    for kind, one in [
        ("attack", NoKnowledge),
        ("attack", StrangeKnowledge),
        ("attack", ListOfKnowledge),
        ("attack", Unfinished),
        ("attack", NoAttack),
        ("attack", RaisesWhenBuilt),
        ("metric", StrangeNeeds),
        ("metric", NoQuantities),
        ("metric", QuantitiesOfWords),
        ("metric", TakesReplicates),
        ("metric", TakesAlignment),
        ("attack", StrangeFeelings),
        ("probe", NoKnowledgeOfProbes),
        ("rule", ActsOnNoise),
        ("rule", ActsOnThoughts),
        ("rule", ActsAtNoPlace),
        ("rule", HidesItsPlace),
        ("rule", NamesAPlaceForNothing),
        ("rule", ActsNowhere),
        ("rule", SilentOnGradients),
    ]
}


def _register(kind: str) -> Callable[[Register], None]:
    def hook(register: Register) -> None:
        for name, (own, double) in DOUBLES.items():
            if own == kind:
                register(name, f"{__name__}:{double.__name__}")

    hook.__name__ = f"register_{kind}s"
    return hookimpl(hook)


register_attacks = _register("attack")
register_metrics = _register("metric")
register_rules = _register("rule")
register_probes = _register("probe")
