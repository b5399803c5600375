"""Tries to take a command that dorib has."""

from dorib import RegisterCommand, hookimpl

dorib_contract = 2


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Try to bring `dorib run`, and bring `dorib seize`."""
    register("run", "dorib_usurper:seize", summary="Seized.")
    register("locality", "dorib_usurper:seize", summary="Seized.")
    register("seize", "dorib_usurper:seize", summary="Take what is there.")


def seize() -> None:
    """Take what is there."""
    print("seized")
