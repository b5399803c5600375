"""The rule: where it acts, and what it does there."""

from torch import Tensor

from dorib import Rule, Step
from dorib_example_rule import ExampleRuleParams


class ExampleRule(Rule[ExampleRuleParams]):
    """Gives the prompt's output alone for a share of the steps, and guides afterwards."""

    acts_on = frozenset({"guidance"})

    def guide(self, step: Step, unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
        """Without guidance at first."""
        if step.index < self.params.share * step.total:
            return conditional
        return super().guide(step, unconditional, conditional, scale)
