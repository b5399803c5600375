"""The simulation of many workers, on made-up times."""

from __future__ import annotations

import pytest

from dorib.workers.tasks import Schedule
from workers.batches import Timed
from workers.simulation import Simulation, as_planned, compared, work_of

ROWS = {"none": 1.0, "slow": 500.0}


def recorded() -> list[Timed]:
    found = []
    for row, fit in ROWS.items():
        found.append(Timed("mitigate", row, fit))
        found += [Timed("generate", f"{row}, utility prompts", 3.0)] * 2
        for attack in ("none", "dori"):
            found += [Timed("attack", f"{row} x {attack}", 20.0)] * 4
            found += [Timed("generate", f"{row} x {attack}", 3.0)] * 8
            found += [Timed("measure", f"clip: {row} x {attack}", 0.5)] * 8
    return found


@pytest.mark.parametrize("order", range(3))
def test_one_worker_does_one_batch_after_another(order: int) -> None:
    name, simulated = list(compared(recorded(), 1))[order]
    total = sum(one.seconds for one in recorded())
    assert simulated.makespan == pytest.approx(total), name
    assert simulated.idle == pytest.approx(0)


def test_no_number_of_workers_is_faster_than_the_longest_chain() -> None:
    work, rows = work_of(recorded())
    length, last = work.longest_chain()
    assert length == 500 + 20 + 3 + 0.5
    assert rows[last.row] == "slow"
    many = Simulation(work, 100, Schedule(as_planned(work))).run()
    assert length <= many.makespan < length + 60


def test_side_by_side_the_long_fit_begins_at_once() -> None:
    after, beside, _ = (simulated for _, simulated in compared(recorded(), 2))
    assert beside.makespan < after.makespan


def test_a_larger_suite_is_more_batches_of_the_same_fits() -> None:
    once, tenfold = (work_of(recorded(), times)[0].total for times in (1, 10))
    assert tenfold - sum(ROWS.values()) == pytest.approx(10 * (once - sum(ROWS.values())))
