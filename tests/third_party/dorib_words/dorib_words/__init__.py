"""How long the captions of a suite's samples are."""

from dorib import RegisterCommand, hookimpl

dorib_contract = 2


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Bring `dorib words`."""
    register("words", "dorib_words.command:words", summary="Count the words of a suite's captions.")
