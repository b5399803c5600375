"""The mitigation: an edit that names the rule, with its parameters."""

from dorib import DefenderView, Edit, Ledger, Mitigation, SamplingRule, Seeds, TargetModel
from dorib_example_rule import ExampleRuleParams


class ExampleRuleMitigation(Mitigation[ExampleRuleParams]):
    """Looks at nothing: the rule needs no fitting."""

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule by name."""
        return Edit(SamplingRule("example-rule", self.params.model_dump(mode="json")))
