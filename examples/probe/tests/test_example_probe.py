"""The rules that every probe keeps, and what this one does."""

from dorib.testing.conformance.pytest_class import Conformance


class TestConformance(Conformance):
    """All of `dorib check example-probe`, a test a rule."""

    kind = "probe"
    method = "example-probe"
