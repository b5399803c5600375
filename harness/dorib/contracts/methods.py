"""What a plugin provides: mitigations, attacks and metrics, and what they are handed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from dorib.contracts.params import Params

if TYPE_CHECKING:
    import torch

    from dorib.contracts.edits import Edit
    from dorib.contracts.ledger import Ledger
    from dorib.contracts.params import Scope
    from dorib.contracts.registration import MethodKind
    from dorib.contracts.seeds import Seeds
    from dorib.contracts.specs import MethodSpec
    from dorib.contracts.suite_view import SuiteView
    from dorib.contracts.target_model import TargetModel
    from dorib.contracts.triggers import Trigger
    from dorib.contracts.views import DefenderView, Generation, Target

P = TypeVar("P", bound=Params)
Knowledge = Literal["original image", "prompt", "gradients", "embeddings", "tokens", "edit"]
Need = Literal["generations", "twin", "utility"]
Level = Literal["image", "sample", "cell"]


class Method(ABC, Generic[P]):
    """A configured method of any kind."""

    conditioning: ClassVar[frozenset[str]] = frozenset({"prompt_embeds", "pooled_prompt_embeds"})
    """Names of the embeddings that a mitigation or an attack can work on. SDXL has both; one that
    leaves the second out is refused there before the run."""

    methods: Mapping[str, Method[Any]]
    """The methods that this one builds on, by role; the host hands them in."""

    def __init__(self, params: P) -> None:
        self.params = params
        self.methods = {}

    def builds_on(self) -> Mapping[str, tuple[MethodKind, MethodSpec]]:
        """Which methods this one needs, by role; read from `params`, none by default.

        The host looks them up, checks their parameters, hands them over in `methods`, and makes
        this method's fingerprint depend on theirs.
        """
        return {}


class Mitigation(Method[P]):
    """Changes a model so that it no longer gives memorized images away."""

    @property
    def scope(self) -> Scope:
        """Whether one edit serves all prompts, or each memorized sample has its own."""
        return "global"

    @abstractmethod
    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """Work out the edit; the model is left as it was found.

        A per-sample edit has a row for each of `view.memorized`, in that order.
        """


class Attack(Method[P]):
    """Searches for a way to make a (mitigated) model replicate an image."""

    knows: ClassVar[frozenset[Knowledge]]
    """The threat model: what the attacker holds."""
    searches: ClassVar[bool] = True
    """False where nothing is searched, so that no budget applies."""
    replays: ClassVar[str | None] = None
    """The role in `builds_on` of the attack whose triggers for the unmitigated model this one is
    handed, in each target's `found`."""

    @abstractmethod
    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        """Yield one trigger for each target, restart and budget, each when its budget is spent.

        The host counts the work at that moment; a trigger that comes after more than its budget is
        refused.

        `model` carries the edit already. `seeds.generator(target.sample, restart)` is an item's
        own randomness, so that no result depends on the batch it was found in. `budgets` rise
        strictly; each is the work allowed for one target, all restarts together.

        Raises:
            DoribError: a budget is too small for a single step.
        """


class Rule(Method[P]):
    """Acts while a model samples: the code that an edit of kind `SamplingRule` names.

    It belongs to the plugin of the mitigation that uses it, so that its code is part of what the
    mitigation's results depend on.
    """

    acts_on: ClassVar[Literal["prompt"]]
    """What it changes on its way into the model: what is handed in behind that place bypasses it.
    """
    passes_gradients: ClassVar[bool]
    """Whether the loss has a gradient in the embeddings while the rule is in force."""


class PromptRule(Rule[P]):
    """Rewrites the prompts that a model is asked with; embeddings handed in directly pass it by."""

    acts_on = "prompt"
    passes_gradients = True

    @abstractmethod
    def rewrite(self, prompts: Sequence[str]) -> list[str]:
        """What the model is asked with in place of each prompt, in order."""


@dataclass(frozen=True)
class Measured:
    """One value; `seed` None where it speaks of the sample as a whole."""

    metric: str
    value: float
    seed: int | None = None


@dataclass(frozen=True)
class Quantity:
    """What one metric name means."""

    unit: str
    direction: Literal["lower is better", "higher is better", "neither"]
    level: Level


REPLICATES = "replicates"
"""1 where an image replicates the original, else 0: what memorization rates are made of."""
SECOND_REPLICATES = "replicates_second"
"""The same by a suite's second descriptor: what the entry sets beside the first's verdict."""
CLIP_ALIGNMENT = "clip_alignment"
"""How well an image goes with its caption: what utility is made of."""
RESERVED_QUANTITIES = frozenset({REPLICATES, SECOND_REPLICATES, CLIP_ALIGNMENT})
"""Names that entries' rates and ranks are made of: the built-in metrics' alone."""


class Metric(Method[P]):
    """Judges generations."""

    needs: ClassVar[frozenset[Need]]
    """"generations": of the samples; "utility": of the utility prompts; "twin": with each the
    unmitigated model's images beside it."""
    quantities: ClassVar[dict[str, Quantity]]
    """Every name that `measure` may yield."""

    @abstractmethod
    def prepare(self, suite: SuiteView, device: torch.device) -> None:
        """Load what judging takes (weights, thresholds) before the first `measure`.

        Raises:
            DoribError: something needed is not at hand; says what and how to get it.
        """

    @abstractmethod
    def stack(self) -> dict[str, str | float | None]:
        """What the values depend on: weights' sha256, resize rule, normalisation, threshold.

        Callable after `prepare`; enters the fingerprint of every record.
        """

    @abstractmethod
    def measure(self, generations: Sequence[Generation]) -> Iterable[Sequence[Measured]]:
        """The values of each generation, in order.

        Not asked where every quantity is a cell's.
        """

    def measure_cell(self, generations: Iterable[Generation]) -> Iterable[Measured]:
        """Values that speak of all generations together, such as a distance of distributions.

        Asked where a quantity's level is "cell": once for the memorized samples under one attack at
        one budget, once for the controls, once for the utility prompts. `generations` are read
        one by one as they are asked for, so that no number of them fills the memory.
        """
        return ()
