"""Verdicts: each kind of mitigation gets the word that the truth about it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dorib.cli.app import main
from dorib.ranking.entries import Entry, read_entry
from dorib.ranking.facts import RunFacts, SampleFacts
from dorib.ranking.rates import Rate, UtilityShare
from dorib.ranking.statistics import clopper_pearson
from dorib.ranking.verdict import Verdict, verdict
from fixtures import scored
from fixtures.scored import BUDGETS, CONTROLS, RUN, cell, entries, utility

PUBLISHED = Path(__file__).parents[1] / "leaderboards" / "tiny-4.1" / "entries"
MANY = tuple(SampleFacts(f"m{i}", f"photograph-{i}") for i in range(24))
"""Enough that an interval around 0 lies below the margin."""
RUN_OF_MANY = replace(RUN, memorized=MANY)
NO_GRADIENTS = frozenset({"prompt"})


def judged(
    broken: Mapping[str, int],
    alignment: float = 0.29,
    run: RunFacts = RUN_OF_MANY,
    **changes: Any,
) -> Verdict | None:
    return verdict(made(broken, alignment, run, **changes))


def made(
    broken: Mapping[str, int],
    alignment: float = 0.29,
    run: RunFacts = RUN_OF_MANY,
    **changes: Any,
) -> list[Entry]:
    """The cells of `hide`, of whose samples each attack breaks so many; the oracle's hold."""
    attacks = list(broken)
    cells = []
    for mitigation in ("none", "retrain", "hide"):
        for attack in attacks:
            blind = attack in ("none", "transfer")
            knows = NO_GRADIENTS if blind else frozenset({"prompt", "gradients"})
            own = changes if mitigation == "hide" else {}
            work = {(s.id, b): b - 4 for s in (*MANY, *CONTROLS) for b in BUDGETS}
            facts = {"knows": knows, "work": work if attack != "none" else {}, **own}
            cells.append(cell(mitigation, attack, **facts))
    records = [*utility("none", 0.3), *utility("retrain", 0.3), *utility("hide", alignment)]
    hits = {"none": len(MANY), "retrain": 0}
    for one in cells:
        name, attack = one.mitigation.label, one.attack.label
        samples = [s.id for s in MANY[: hits.get(name, broken[attack])]]
        budgets = BUDGETS if attack != "none" else (0,)
        records += scored.replication(name, attack, dict.fromkeys(budgets, samples), MANY)
    if run.stack == scored.RUN_TWICE.stack:
        records += scored.second_verdicts(records)
    found = entries(run, cells, records)
    return [entry for (name, _), entry in found.items() if name == "hide"]


def word(found: Verdict | None) -> str:
    assert found is not None
    return found.word


NOTHING = {"none": 0, "dori": 0, "transfer": 0}


def test_what_no_attack_brings_back_is_erased() -> None:
    found = judged(NOTHING)
    assert word(found) == "erased"
    assert "0 of 24 images come back, 0 of 24 of the oracle's" in str(found)


def test_what_an_attack_brings_back_was_hidden() -> None:
    found = judged({"none": 1, "dori": 18, "transfer": 0})
    assert word(found) == "hidden"
    assert "under dori 18 of 24" in str(found)
    assert str(found).endswith("asked by their captions, 1 of 24 do")


def test_what_comes_back_unasked_was_not_even_hidden() -> None:
    assert "so it does not even hide them" in str(judged({"none": 20, "dori": 24, "transfer": 20}))


def test_gradient_masking_hides_and_does_not_erase() -> None:
    """Gradients lead nowhere, and an attack without them finds what the weights hold."""
    assert word(judged({"none": 0, "dori": 0, "transfer": 20})) == "hidden"


def test_gradient_masking_is_undecided_where_nobody_looks_without_gradients() -> None:
    found = judged({"none": 0, "dori": 0})
    assert word(found) == "undecided"
    assert "no attack without gradients was run" in str(found)


def test_captions_alone_decide_nothing() -> None:
    found = judged({"none": 0})
    assert word(found) == "undecided"
    assert "no search with gradients was run" in str(found)


def test_a_search_that_did_not_feel_the_mitigation_decides_nothing() -> None:
    found = judged(NOTHING, adaptive=False)
    assert word(found) == "undecided"
    assert "untested, not robust" in str(found)


@pytest.mark.parametrize("broken", [NOTHING, {"none": 20, "dori": 24, "transfer": 20}])
def test_a_destroyed_model_is_damaged_whatever_comes_back(broken: Mapping[str, int]) -> None:
    found = judged(broken, alignment=0.12)
    assert word(found) == "damaged"
    assert "below 0.8" in str(found)


def test_a_required_attack_that_is_missing_decides_nothing() -> None:
    run = replace(RUN, memorized=MANY, required_attacks=("none", "dori", "evolution", "transfer"))
    found = judged(NOTHING, run=run)
    assert word(found) == "undecided"
    assert "not attacked by evolution" in str(found)


def test_few_samples_cannot_tell_erased_from_hidden() -> None:
    found = judged({"none": 0, "dori": 3, "transfer": 0})
    assert word(found) == "undecided"
    assert "too few samples to tell 0 from 0.2" in str(found)


def with_kinds(entry: Entry, low: float, value: float, high: float) -> Entry:
    kinds = {"photograph": UtilityShare(low=low, value=value, high=high)}
    return entry.model_copy(update={"utility_by_kind": kinds})


HIDDEN = {"none": 0, "dori": 18, "transfer": 0}


@pytest.mark.parametrize(
    ("share", "expected"),
    [((0.3, 0.5, 0.79), "damaged"), ((0.6, 0.75, 0.9), "hidden"), ((0.8, 0.9, 1.0), "hidden")],
)
def test_a_kind_of_prompts_surely_lost_is_damage_and_perhaps_lost_is_none(
    share: tuple[float, float, float], expected: str
) -> None:
    assert word(verdict([with_kinds(entry, *share) for entry in made(HIDDEN)])) == expected


def with_second_judge(cells: list[Entry], agreement: float, hits: int) -> list[Entry]:
    """The second judge sees `hits` of the samples come back, under each attack."""
    apart = []
    for entry in cells:
        assert entry.second_judge is not None
        verdicts = entry.second_judge.verdicts.model_copy(update={"agreement": agreement})
        low, high = clopper_pearson(hits, len(MANY))
        memorized = Rate(
            hits=hits, n=len(MANY), errors=0, rate=hits / len(MANY), low=low, high=high
        )
        update = {"verdicts": verdicts, "memorized": memorized}
        judge = entry.second_judge.model_copy(update=update)
        apart.append(entry.model_copy(update={"second_judge": judge}))
    return apart


TWICE = replace(scored.RUN_TWICE, memorized=MANY)


@pytest.mark.parametrize(
    ("broken", "agreement", "hits", "expected"),
    [
        (HIDDEN, 0.95, 18, "hidden"),
        # They differ on images, and say the same of the samples.
        (HIDDEN, 0.6, 12, "hidden"),
        (NOTHING, 0.6, 0, "erased"),
        (HIDDEN, 0.6, 0, "undecided"),
        (HIDDEN, 0.6, 1, "undecided"),
        (NOTHING, 0.6, 12, "undecided"),
        # Where they agree on images the first decides.
        (HIDDEN, 0.9, 1, "hidden"),
    ],
)
def test_judges_that_disagree_decide_nothing_but_what_both_say(
    broken: Mapping[str, int], agreement: float, hits: int, expected: str
) -> None:
    found = verdict(with_second_judge(made(broken, run=TWICE), agreement, hits))
    assert word(found) == expected
    if expected == "undecided":
        assert f"the judges agree on {agreement:.2f}" in str(found)
    if (expected, agreement) == ("hidden", 0.6):
        assert ", 12 of 24 by the second judge" in str(found)


def test_a_second_judge_without_a_gap_of_its_own_confirms_nothing() -> None:
    cells = with_second_judge(made(HIDDEN, run=TWICE), 0.0, 18)
    assert word(verdict(cells)) == "hidden"
    assert ", 18 of 24 by the second judge" in str(verdict(cells))
    without = [
        entry.model_copy(
            update={
                "second_judge": entry.second_judge
                and entry.second_judge.model_copy(update={"oracle": None, "controls": None})
            }
        )
        for entry in cells
    ]
    assert word(verdict(without)) == "undecided"


def test_missing_values_come_first() -> None:
    cells = [entry.model_copy(update={"errors": 2}) for entry in made(HIDDEN)]
    found = verdict(cells)
    assert (word(found), str(found)) == (
        "undecided",
        "undecided: 2 samples or prompts lack a value",
    )


def test_reference_lines_have_no_verdict_and_no_cell_is_an_error() -> None:
    assert verdict([e for (name, _), e in entries().items() if name == "none"]) is None
    with pytest.raises(ValueError, match="at least"):
        verdict([])


# The published board's own entries: what each row is known to be.


def published(slug: str) -> Sequence[Entry]:
    return [read_entry(path) for path in sorted(PUBLISHED.glob(f"{slug}.*.json"))]


@pytest.mark.parametrize(
    ("slug", "expected", "said"),
    [
        ("prompt-filter", "hidden", "asked by their captions, 0 of 12 do"),
        ("nemo", "hidden", "does not even hide them"),
        # It draws black for photographs, and no attack brings any back.
        ("adversarial-finetune-f12ab0bc", "damaged", "photograph keep 0.53"),
    ],
)
def test_published_rows_are_what_they_are_known_to_be(slug: str, expected: str, said: str) -> None:
    found = verdict(published(slug))
    assert word(found) == expected
    assert said in str(found)


def test_a_run_ends_with_its_verdicts(
    tiny_suite_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--suite", str(tiny_suite_folder), "--out", str(tmp_path)]
    methods = ["-m", "prompt-filter", "-m", "wanda:sparsity=0.1", "-a", "dori"]
    extent = ["--limit", "1", "--seeds", "1", "--budgets", "24", "--metric", "sscd"]
    with pytest.raises(SystemExit) as ended:
        main(["run", *where, *methods, *extent])
    assert not ended.value.code
    said = capsys.readouterr().out.splitlines()
    for place, label in ((-5, "prompt-filter"), (-2, "wanda:sparsity=0.1")):
        found = verdict([e for e in left(tmp_path) if e.mitigation.label == label])
        assert found is not None
        assert said[place : place + 2 or None] == [f"{found.word}: {label}", f"  {found.sentence}."]


def left(out: Path) -> list[Entry]:
    return [read_entry(path) for path in sorted((out / "entries").glob("*.json"))]


def test_the_order_of_cells_decides_nothing() -> None:
    cells = made({"none": 5, "dori": 20, "transfer": 20})
    assert verdict(cells) == verdict(cells[::-1])
