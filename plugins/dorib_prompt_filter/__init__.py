"""A filter on known prompts: it hides everything and erases nothing.

The line that a mitigation must be told apart from: asked in the known words the model answers with
another image, and its weights hold what they held.
"""

from __future__ import annotations

from pydantic import Field

from dorib import MethodCard, Params, Register, hookimpl

dorib_contract = 2


class PromptFilterParams(Params):
    """The filter has nothing to set: it knows the memorized prompts of the split."""


class FilterRuleParams(Params):
    """What the filter knows."""

    substitutes: dict[str, str] = Field(
        description="for each known prompt, the caption that the model is asked with in its place"
    )


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `prompt-filter`."""
    register(
        "prompt-filter",
        "dorib_prompt_filter.mitigation:PromptFilter",
        params=PromptFilterParams,
        summary="answers a known prompt with the image of another one; erases nothing",
        card=MethodCard(
            title="Prompt filter",
            sentence="Answers a known caption with the image of another one; no weight is changed.",
            family="prompt",
            access="captions",
        ),
    )


@hookimpl
def register_rules(register: Register) -> None:
    """Bring `prompt-filter`, the rule that the mitigation's edit names."""
    register(
        "prompt-filter",
        "dorib_prompt_filter.rule:SubstituteKnownPrompts",
        params=FilterRuleParams,
        summary="asks with another caption in place of a known prompt",
    )
