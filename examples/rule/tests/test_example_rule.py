"""The rules that a mitigation and its sampling rule keep, and what this one does."""

from dorib.testing.conformance.pytest_class import Conformance


class TestMitigation(Conformance):
    """All of `dorib check example-rule`, a test a rule."""

    kind = "mitigation"
    method = "example-rule"


class TestRule(Conformance):
    """The same of the sampling rule by itself."""

    kind = "rule"
    method = "example-rule"
