"""Makes the text encoder forget words that only memorized captions have."""

from pydantic import Field

from dorib import Params, Register, hookimpl

dorib_contract = 2


class ForgetWordsParams(Params):
    """How much of a word is left."""

    kept: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of a token's difference from the mean token that is left",
    )


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `forget-words`."""
    register(
        "forget-words",
        "dorib_forget_words.mitigation:ForgetWords",
        params=ForgetWordsParams,
        summary="the text encoder without the words that only memorized captions have",
    )
