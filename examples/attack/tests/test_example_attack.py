"""The rules that every attack keeps, and what this one does."""

from dorib.testing.conformance.pytest_class import Conformance


class TestConformance(Conformance):
    """All of `dorib check example-attack`, a test a rule."""

    kind = "attack"
    method = "example-attack"
