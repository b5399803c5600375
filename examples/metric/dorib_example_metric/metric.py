"""The metric."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch

from dorib import Generation, Measured, Metric, Quantity, SuiteView
from dorib_example_metric import ExampleMetricParams


class ExampleMetric(Metric[ExampleMetricParams]):
    """Mean absolute difference of horizontal neighbours, in grey levels of 1."""

    needs = frozenset({"generations"})
    quantities: ClassVar[dict[str, Quantity]] = {
        "example_metric_detail": Quantity("grey levels", "higher is better", "image", in_table=True)
    }

    def prepare(self, suite: SuiteView, device: torch.device) -> None:
        """Load what judging takes: here nothing."""

    def stack(self) -> dict[str, str | float | None]:
        """What the values depend on."""
        return {"neighbours": "horizontal"}

    def measure(self, generations: Sequence[Generation]) -> Iterator[list[Measured]]:
        """One value an image."""
        for generation in generations:
            images = generation.images
            detail = (images[..., 1:] - images[..., :-1]).abs().mean((1, 2, 3))
            yield [
                Measured("example_metric_detail", float(value), seed)
                for seed, value in zip(generation.seeds, detail, strict=True)
            ]
