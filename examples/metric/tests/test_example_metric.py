"""The rules that every metric keeps, and what this one does."""

from dorib.testing.conformance.pytest_class import Conformance


class TestConformance(Conformance):
    """All of `dorib check example-metric`, a test a rule."""

    kind = "metric"
    method = "example-metric"
