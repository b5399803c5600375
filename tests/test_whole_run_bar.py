"""The bar for a whole run: how far it has come, and the time left, above the verb's own."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dorib.cli.ahead.whole import Whole
from dorib.cli.progress import Bars
from dorib.config import make_config
from dorib.host.registry import discover
from dorib.plan.ahead import Expected, Foreseeing
from dorib.plan.plan import Plan
from dorib.reporting import Silent
from dorib.runner import plan
from dorib.testing.suites import save_random_suite

EXPECTED = [
    Expected("mitigate", "wanda", 10.0),
    Expected("attack", "wanda x dori", 60.0),
    Expected("attack", "wanda x dori", 20.0),
    Expected("generate", "wanda x dori", 10.0),
]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("planned")
    suite = save_random_suite(folder / "suite")
    options = {"suite": str(suite), "out": str(folder / "out"), "metric": ["clip"]}
    return plan(make_config(options), discover())


def shown(planned: Plan, seconds: float | None) -> tuple[str, list[str]]:
    """What a terminal is shown before the first verb, and while three are at work."""
    clock, printed = Clock(), io.StringIO()
    console = Console(file=printed, force_terminal=True, color_system=None, width=80)
    with Bars(console, clock) as bars:
        bars.foresee(planned.model_copy(update={"seconds": seconds}), EXPECTED)
        before = printed.getvalue()
        frames = []
        with bars.verb("mitigate", "wanda", 20) as advance:
            printed.truncate(0)
            clock.now += 10
            advance(10)
            bars.refresh()
            frames.append(printed.getvalue())
        with bars.verb("attack", "wanda x dori", 0):
            clock.now += 10
            printed.truncate(0)
            bars.refresh()
            frames.append(printed.getvalue())
    return before, frames


def test_it_stands_above_the_verbs_bar_with_the_time_left(planned: Plan) -> None:
    before, (first, second) = shown(planned, seconds=100.0)
    assert "U-Net items" not in before
    assert first.index("the whole run") < first.index("mitigate wanda")
    # 5 of 100 in 10 seconds: 190 more, of the fit's own as many as it has taken.
    assert "3 min 10 s left" in first
    assert "10 s left" in first
    # The fit is done, 10 of 100 in 20 seconds.
    assert "3 min 00 s left" in second


def test_a_long_run_says_first_what_it_will_take(planned: Plan) -> None:
    before, _ = shown(planned, seconds=4 * 3600.0)
    assert f"U-Net items  {planned.total.items}:" in before
    assert "about 4 h 00 min" in before


def test_what_was_expected_tells_until_the_run_itself_does() -> None:
    clock = Clock()
    in_seconds = Whole({("attack", "x"): 100.0}, True, clock)
    in_proportion = Whole({("attack", "x"): 100.0}, False, clock)
    clock.now = 3.0
    for whole in (in_seconds, in_proportion):
        whole.advance("attack", "x", 0.04)
    assert in_seconds.left == pytest.approx(96)
    assert in_proportion.left is None
    clock.now = 40.0
    for whole in (in_seconds, in_proportion):
        whole.advance("attack", "x", 0.5)
        assert whole.left == pytest.approx(40)


def test_a_verb_that_nobody_expected_moves_nothing() -> None:
    whole = Whole({("attack", "x"): 1.0}, True, Clock())
    whole.advance("measure", "y", 0.5)
    whole.end("measure", "y")
    assert whole.done == 0
    for _ in range(2):
        whole.end("attack", "x")
        assert whole.done == whole.total == 1


def test_reporters_without_a_bar_are_not_asked() -> None:
    assert isinstance(Bars(Console(file=io.StringIO())), Foreseeing)
    assert not isinstance(Silent(), Foreseeing)
