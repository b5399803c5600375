"""The suites that dorib ships: their data, their weights and the recipe that made them."""

from __future__ import annotations

from pathlib import Path

from dorib import RegisterSuite, hookimpl

dorib_contract = 2


@hookimpl
def register_suites(register: RegisterSuite) -> None:
    """Register the embedded suite, and those whose data `dorib fetch` brings."""
    register(
        "tiny",
        Path(__file__).parent / "tiny" / "suite",
        summary="a small model that memorized real photographs; runs on two cores",
    )
    stable_diffusion = Path(__file__).parent / "stable_diffusion"
    for name, summary in {
        "sd14-vm": "Stable Diffusion 1.4, 112 verbatim prompts; needs `dorib fetch sd14-vm`",
        "sd14": "Stable Diffusion 1.4, 500 memorized prompts; needs `dorib fetch sd14`",
        "sd2": "Stable Diffusion 2.1, the same 500 prompts; needs `dorib fetch sd2`",
        "sd2-mem219": "Stable Diffusion 2.0, 219 memorized prompts, no originals: `dorib cliques`",
    }.items():
        register(name, stable_diffusion / name, summary=summary)
