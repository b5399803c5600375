"""The tables of mutants, read and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Mutant:
    """One change of a few characters, and the test files that should notice it."""

    subject: str
    name: str
    """What is wrong with the program then."""
    file: str
    old: str
    """Stands in the file exactly once."""
    new: str
    tests: tuple[str, ...]
    options: tuple[str, ...] = ()
    """For pytest."""


def read_tables(root: Path, subjects: Sequence[str] = ()) -> list[Mutant]:
    """All mutants of `subjects` (none: of all), in the order of the tables.

    Raises:
        SystemExit: a table or a subject is unknown, or a mutant no longer fits the sources.
    """
    known = {path.stem: path for path in sorted(TABLES.glob("*.toml"))}
    unknown = set(subjects) - known.keys()
    if unknown:
        raise SystemExit(f"no table {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    mutants = [
        mutant for name in subjects or known for mutant in _read_table(known[name], name, root)
    ]
    names = [mutant.name for mutant in mutants]
    for name in names:
        if names.count(name) > 1:
            raise SystemExit(f"{name!r} stands twice; give each mutant a name of its own")
    return mutants


def _read_table(path: Path, subject: str, root: Path) -> list[Mutant]:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    mutants = []
    for row in table["mutants"]:
        mutant = Mutant(
            subject=subject,
            name=row["name"],
            file=row.get("file", table.get("file")),
            old=row["old"],
            new=row["new"],
            tests=tuple(row.get("tests", table.get("tests", ()))),
            options=tuple(row.get("options", table.get("options", ()))),
        )
        found = (root / mutant.file).read_text(encoding="utf-8").count(mutant.old)
        if found != 1:
            raise SystemExit(
                f"{path.name}, {mutant.name!r}: its text stands {found} times in {mutant.file}; "
                "bring it up to date"
            )
        missing = [test for test in mutant.tests if not (root / test.partition("::")[0]).is_file()]
        if missing or not mutant.tests:
            raise SystemExit(f"{path.name}, {mutant.name!r}: no tests {' '.join(missing)}")
        mutants.append(mutant)
    return mutants
