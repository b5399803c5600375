"""Cards of methods: brought by plugins, checked, kept in entries, and no part of the old ones."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from dorib import MethodCard, MethodSpec, Params, hookimpl
from dorib.config import make_config
from dorib.host.configure import configure
from dorib.host.registry import Registry, discover
from dorib.ranking.entries import Entry, read_entry
from dorib.runner import run
from fixtures.scored import entries
from fixtures.site import CARD, with_card

PUBLISHED = Path(__file__).parents[1] / "leaderboards" / "tiny-4.1" / "entries"
METHODS = ("mitigation", "attack", "metric", "probe")


def test_every_built_in_method_has_a_card(built_in_plugins: list[EntryPoint]) -> None:
    registry = discover(built_in_plugins)
    for (kind, name), one in registry.registrations.items():
        if kind in METHODS:
            assert one.card is not None, f"{kind} {name}"
            assert one.card.sentence.endswith((".", "?")) and one.card.title, name
            assert bool(one.card.paper) <= bool(one.card.authors and one.card.year), name


@pytest.mark.parametrize(
    ("spec", "title"),
    [
        ("unlearn", "SISS"),
        ("unlearn:loss=retrack", "ReTrack"),
        ("concept", "UCE"),
        ("concept:method=esd", "ESD"),
        ("concept:method=ablation", "Concept ablation"),
        ("noise-descent:loss=sharpness", "SAIL"),
        ("wanda:sparsity=0.1", "Wanda for memorization"),
    ],
)
def test_a_setting_that_people_know_as_a_method_has_its_own_card(
    built_in_plugins: list[EntryPoint], spec: str, title: str
) -> None:
    found = configure(discover(built_in_plugins), "mitigation", MethodSpec.parse(spec)).card
    assert found is not None and found.title == title


@pytest.mark.parametrize(
    "fields",
    [
        {"title": ""},
        {"title": "two\nlines"},
        {"title": "x" * 500},
        {"title": " spaces "},
        {"title": "x", "paper": "javascript:alert(1)"},
        {"title": "x", "paper": "http://plain.example"},
        {"title": "x", "code": 'https://a.example/"onclick="'},
        {"title": "x", "year": 3},
        {"title": "x", "colour": "red"},
    ],
)
def test_what_is_no_line_and_no_address_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MethodCard(**fields)


def registry_of(**registered: Any) -> Registry:
    module = ModuleType("carded")

    @hookimpl
    def register_mitigations(register: Any) -> None:
        register("carded", "carded:Carded", **registered)

    vars(module).update(dorib_contract=2, register_mitigations=register_mitigations)
    sys.modules["carded"] = module
    try:
        return discover([EntryPoint("carded", "carded", "dorib")])
    finally:
        del sys.modules["carded"]


class Strength(Params):
    strength: float = 1.0


@pytest.mark.parametrize(
    ("registered", "said"),
    [
        ({"card": {"title": "a mapping"}}, "mitigation 'carded': its card is no dorib.MethodCard"),
        ({"variants": {"strength=2": "x"}, "params": Strength}, "its card is no dorib.MethodCard"),
        (
            {"card": CARD, "variants": {"colour=red": CARD}, "params": Strength},
            "its card's variant 'colour=red' names no parameter",
        ),
    ],
)
def test_a_card_that_is_none_is_listed_as_broken(registered: dict[str, Any], said: str) -> None:
    registry = registry_of(**registered)
    assert ("mitigation", "carded") not in registry.registrations
    assert said in registry.broken[0].reason


def test_a_plugin_without_a_card_is_registered() -> None:
    assert registry_of().registrations["mitigation", "carded"].card is None


def test_a_run_keeps_the_cards_in_its_entries(tiny_suite_folder: Path, tmp_path: Path) -> None:
    options = {
        **{"suite": str(tiny_suite_folder), "out": str(tmp_path), "metric": ["sscd"]},
        **{"limit": 1, "seeds": 1, "budgets": [24]},
    }
    config = make_config({**options, "mitigation": ["prompt-filter"], "attack": ["dori"]})
    result = run(config, discover())
    for path in result.entry_files:
        entry = read_entry(path)
        assert entry.schema_version == 4
        assert entry.mitigation.card and entry.attack.card
    titles = {entry.mitigation.card.title for entry in result.entries if entry.mitigation.card}
    assert "Prompt filter" in titles


def test_entries_of_before_are_read_without_cards_and_take_none() -> None:
    old = read_entry(next(iter(sorted(PUBLISHED.glob("wanda*.json")))))
    assert old.schema_version == 1 and old.mitigation.card is None
    third = entries()["hide", "dori"].model_dump(mode="json") | {"schema_version": 3}
    assert Entry.model_validate(third).mitigation.card is None
    carded = with_card(entries()["hide", "dori"]).model_dump(mode="json")
    assert Entry.model_validate(carded).mitigation.card == CARD
    with pytest.raises(ValidationError, match="card: methods have theirs since version 4"):
        Entry.model_validate(carded | {"schema_version": 3})
