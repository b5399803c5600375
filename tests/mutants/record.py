"""What earlier runs found: the test that killed a mutant, and what a stopped run had done."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from mutants.runner import Result
from mutants.table import Mutant

KILLERS = Path(__file__).parent / "killed_by.json"


class Killers:
    """Of each mutant the test that killed it last: run first, it spares the others."""

    def __init__(self, path: Path = KILLERS) -> None:
        self._path = path
        self._tests: dict[str, dict[str, str]] = (
            json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        )

    def of(self, mutant: Mutant) -> str | None:
        """The test's id, where one is known that is still among the mutant's own."""
        test = self._tests.get(mutant.subject, {}).get(mutant.name)
        own = test and any(f"{test}::".startswith((f"{of}::", f"{of}[")) for of in mutant.tests)
        return test if own else None

    def note(self, result: Result) -> None:
        """Write down what killed it, if a test did."""
        of_subject = self._tests.setdefault(result.mutant.subject, {})
        if result.killer:
            of_subject[result.mutant.name] = result.killer
        else:
            of_subject.pop(result.mutant.name, None)
        text = json.dumps(self._tests, indent=1, sort_keys=True, ensure_ascii=False)
        self._path.write_text(text + "\n", encoding="utf-8")


class Progress:
    """The results of one run in a file, a line each, for another that goes on with it."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def done(self, mutants: Iterable[Mutant]) -> list[Result]:
        """The results that are there, of those among `mutants` that are still the same."""
        if self._path is None or not self._path.exists():
            return []
        lines = [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
        found = {(line["subject"], line["name"], line["old"], line["new"]): line for line in lines}
        results = []
        for mutant in mutants:
            if line := found.get((mutant.subject, mutant.name, mutant.old, mutant.new)):
                results.append(Result(mutant, line["code"], line["seconds"], line["killer"]))
        return results

    def note(self, result: Result) -> None:
        """Append it."""
        if self._path is None:
            return
        mutant = result.mutant
        line = {
            "subject": mutant.subject,
            "name": mutant.name,
            "old": mutant.old,
            "new": mutant.new,
            "code": result.code,
            "seconds": round(result.seconds, 1),
            "killer": result.killer,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
