"""A suite of your own."""

from pathlib import Path

from dorib import RegisterSuite, hookimpl

dorib_contract = 2


@hookimpl
def register_suites(register: RegisterSuite) -> None:
    """Bring `example-suite`."""
    register(
        "example-suite", Path(__file__).parent / "suite", summary="a model, its images, its prompts"
    )
