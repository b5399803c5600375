"""Utility prompts: what captions an image of each is held against."""

from __future__ import annotations

from pathlib import Path

from dorib.config import make_config
from dorib.store.store import Store
from dorib.suites.suite import Suite
from dorib.verbs.context import RunContext, Subject
from fixtures.suites import captions, write_rows


def prompts_of(suite: Path, rows: list[dict[str, str]]) -> tuple[Subject, ...]:
    write_rows(suite / "utility.jsonl", rows)
    loaded = Suite.load(suite)
    config = make_config({"suite": str(suite), "out": str(suite / "out")})
    return RunContext(
        loaded, config, loaded.manifest.quick, Store(suite / "out" / "store")
    ).utility_prompts


def of_kind(kind: str, count: int) -> list[dict[str, str]]:
    return [{**row, "kind": kind} for row in captions(kind, count)]


def test_a_prompt_of_a_kind_has_all_others_of_it_beyond_the_profile_too(suite_copy: Path) -> None:
    # The profile takes four prompts.
    rows = [*of_kind("scene", 3), *of_kind("photograph", 3), {"caption": "of no kind"}]
    prompts = prompts_of(suite_copy, rows)
    assert len(prompts) == 4
    assert [prompt.captions_of_kind for prompt in prompts] == [
        ("scene view 1", "scene view 2"),
        ("scene view 0", "scene view 2"),
        ("scene view 0", "scene view 1"),
        ("photograph view 1", "photograph view 2"),
    ]
    assert prompts[0].other_caption == "scene view 1"


def test_a_prompt_is_not_among_its_others_however_often_it_stands(suite_copy: Path) -> None:
    twice = [*of_kind("scene", 2), *of_kind("scene", 2), {"caption": "of no kind"}]
    assert [prompt.captions_of_kind for prompt in prompts_of(suite_copy, twice)] == [
        ("scene view 1",),
        ("scene view 0",),
        ("scene view 1",),
        ("scene view 0",),
    ]


def test_a_prompt_without_a_kind_has_none(suite_copy: Path) -> None:
    rows = [{"caption": "of no kind"}, {"caption": "nor this"}, *of_kind("scene", 1)]
    assert [prompt.captions_of_kind for prompt in prompts_of(suite_copy, rows)] == [(), (), ()]


def test_what_is_stored_of_a_prompt_depends_on_the_captions_of_its_kind(suite_copy: Path) -> None:
    two = prompts_of(suite_copy, [*of_kind("scene", 2), {"caption": "last"}])[0]
    three = prompts_of(suite_copy, [*of_kind("scene", 3), {"caption": "last"}])[0]
    assert (two.caption, two.other_caption) == (three.caption, three.other_caption)
    assert two.tag != three.tag
