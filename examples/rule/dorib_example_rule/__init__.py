"""Does without guidance in the first steps."""

from pydantic import Field

from dorib import Params, Register, hookimpl

dorib_contract = 2


class ExampleRuleParams(Params):
    """How long."""

    share: float = Field(0.5, ge=0, le=1, description="of the steps that go without guidance")


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `example-rule`, whose edit names the rule."""
    register(
        "example-rule",
        "dorib_example_rule.mitigation:ExampleRuleMitigation",
        params=ExampleRuleParams,
        summary="no guidance in the first steps",
    )


@hookimpl
def register_rules(register: Register) -> None:
    """Bring `example-rule`, which acts while the model samples."""
    register(
        "example-rule",
        "dorib_example_rule.rule:ExampleRule",
        params=ExampleRuleParams,
        summary="no guidance in the first steps",
    )
