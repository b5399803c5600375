"""How large the first prediction is."""

from dorib import Params, Register, hookimpl

dorib_contract = 2


class ExampleProbeParams(Params):
    """Nothing to set."""


@hookimpl
def register_probes(register: Register) -> None:
    """Bring `example-probe`."""
    register(
        "example-probe",
        "dorib_example_probe.probe:ExampleProbe",
        params=ExampleProbeParams,
        summary="size of the prediction at the noisiest step",
    )
