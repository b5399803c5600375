"""How much fine detail an image has."""

from dorib import Params, Register, hookimpl

dorib_contract = 2


class ExampleMetricParams(Params):
    """Nothing to set."""


@hookimpl
def register_metrics(register: Register) -> None:
    """Bring `example-metric`."""
    register(
        "example-metric",
        "dorib_example_metric.metric:ExampleMetric",
        params=ExampleMetricParams,
        summary="mean difference of neighbouring pixels",
    )
