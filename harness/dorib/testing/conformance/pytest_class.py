"""A class for a method's own tests: every check of `dorib check`, a test each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from dorib.contracts.registration import MethodKind
from dorib.contracts.specs import MethodSpec
from dorib.host.registry import discover
from dorib.testing.conformance.checks import CHECKS, Check, found_by
from dorib.testing.conformance.workplace import Workplace


class Conformance:
    """Inherit it under a name that begins with `Test`, and say what is to be tested."""

    kind: ClassVar[MethodKind]
    method: ClassVar[str]
    """The registered name, with parameters as typed: `my-attack:stride=0.1`."""
    suite: ClassVar[str | None] = None
    """A suite in the place of the plain random one."""

    @pytest.fixture(scope="class")
    def workplace(
        self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Workplace]:
        """Where the checks of this class work."""
        of = request.cls
        spec = MethodSpec.parse(of.method)
        folder = tmp_path_factory.mktemp("conformance")
        yield Workplace(discover(), of.kind, spec, folder, of.suite)

    @pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
    def test_conforms(self, check: Check, workplace: Workplace) -> None:
        """The method keeps one rule."""
        if workplace.kind not in check.kinds:
            pytest.skip(f"not asked of a {workplace.kind}")
        found = found_by(check, workplace)
        if found is None:
            pytest.skip("tells nothing after what earlier tests have found")
        assert not found, f"{found[0]}\nrule: {check.rule}\nmend: {check.mend}"
