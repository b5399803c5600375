"""What the built-in methods say they will cost, and what they then cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dorib.config import make_config
from dorib.host.registry import discover
from dorib.plan.plan import Plan
from dorib.reporting import Advance, Silent
from dorib.runner import plan, run
from dorib.testing.suites import save_random_suite

UNLEARN = "unlearn:pictures=2,steps_per_image=2,similarity_threshold=0.99,loss="
FINETUNE = "adversarial-finetune:search=(dori:pairs=1),search_budget=6,epochs=2,general_images=2,"
EXACT = [
    "none",
    "prompt-filter",
    "guidance",
    "wanda:sparsity=0.1,images_per_prompt=2,timesteps=2",
    "wanda:baseline=general,baseline_captions=4,scope=per_sample,sparsity=0.1",
    "quantize:base=(wanda:sparsity=0.2)",
    "concept",
    "concept:method=esd,pictures=2,steps_per_caption=2",
    "concept:method=ablation,pictures=2,steps_per_caption=2",
    "concept:method=ablation,pictures=2,prior_weight=0,steps_per_caption=2",
    *(f"{UNLEARN}{loss},keep=general" for loss in ("naive", "erasediff", "siss", "retrack")),
    f"{UNLEARN}neggrad",
    f"{FINETUNE}target=empty_prompt",
    "embedding-descent:captions=3,steps=1",
    "noise-descent:captions=2,loss=sharpness,steps=1",
    "noise-adjustment",
]
BOUNDS = [f"{FINETUNE}surrogate=(wanda:sparsity=0.1),surrogates=2,similarity_threshold=0.99"]
ATTACKS = [
    "dori:pairs=2",
    "evolution:components=2,judging_pairs=2,pairs=2",
    "inversion:pairs=2,words=1",
    "prompt-walk:noises=1",
    "relearn:pairs=2",
    "seeds",
    "tokens:judging_pairs=2,pairs=2",
    "transfer:source=(dori:pairs=2)",
]
PROBES = ["clid:pairs=2", "loss-gap:pairs=2", "magnitude:noises=2"]


class Counting(Silent):
    """Adds up what each verb has done, in its own units."""

    def __init__(self) -> None:
        self.units: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        def advance(units: int) -> None:
            self.units[name, subject] += units

        yield advance


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_suite(tmp_path_factory.mktemp("suite"))


def planned_and_counted(suite: Path, out: Path, **methods: Any) -> tuple[Plan, Counting]:
    config = make_config({"suite": str(suite), "out": str(out), "metric": ["clip"], **methods})
    before = plan(config, discover())
    counting = Counting()
    assert not run(config, discover(), counting).failed
    return before, counting


def test_fits(suite: Path, tmp_path: Path) -> None:
    before, counting = planned_and_counted(suite, tmp_path, mitigation=[*EXACT, *BOUNDS])
    counted = {name: units for (verb, name), units in counting.units.items() if verb == "mitigate"}
    for row in before.rows[: len(EXACT)]:
        assert row.fit.exact, row.mitigation
        assert row.fit.items == counted.get(row.mitigation, 0), row.mitigation
    for row in before.rows[len(EXACT) :]:
        assert not row.fit.exact
        assert counted[row.mitigation] <= row.fit.items <= 2 * counted[row.mitigation]


def test_searches_and_probes(suite: Path, tmp_path: Path) -> None:
    before, counting = planned_and_counted(suite, tmp_path, attack=ATTACKS, probe=PROBES)
    assert before.total.exact
    counted = sum(units for (verb, _), units in counting.units.items() if verb == "attack")
    assert before.work["attack"].items == counted
    assert before.work["probe"].items == 4 * (2 * 2 + 2 + 2 * 2)


def test_nemo_says_a_bound_once_the_model_is_known(suite: Path, tmp_path: Path) -> None:
    nemo = "nemo:batch_size=4,seeds=2,threshold_captions=2,theta_step=2.0"
    before, counting = planned_and_counted(suite, tmp_path, mitigation=[nemo])
    [row] = before.rows[1:]
    assert not row.fit.exact
    assert 0 < counting.units["mitigate", row.mitigation] <= row.fit.items
