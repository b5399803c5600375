"""Suites: what is read, and that every refusal is one line with file, row and remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dorib.errors import DoribError
from dorib.suites.suite import Suite
from fixtures.suites import SPLITS, write_manifest, write_rows


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = yaml.safe_load((folder / "suite.yaml").read_text())
    change(content)
    write_manifest(folder, content)


def edit_row(folder: Path, number: int, **fields: Any) -> None:
    """Change row `number` (from 1) of the sample table; a field set to `...` is taken out."""
    path = folder / "samples.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[number - 1] |= fields
    rows[number - 1] = {k: v for k, v in rows[number - 1].items() if v is not ...}
    write_rows(path, rows)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(DoribError) as refused:
        act()
    message = str(refused.value)
    assert "\n" not in message
    assert "; " in message, f"no remedy: {message}"
    return message


@pytest.mark.parametrize(
    "name",
    [
        "suite.yaml",
        "samples.jsonl",
        "utility.jsonl",
        "general.jsonl",
        "images/*.png",
        "pipeline/unet/*.safetensors",
        "pipeline/scheduler/*.json",
        "oracle/*.safetensors",
        "descriptor/*.safetensors",
    ],
)
def test_the_digest_is_that_of_all_a_result_depends_on(suite_copy: Path, name: str) -> None:
    before = Suite.load(suite_copy).digest()
    for path in suite_copy.glob(name):
        path.write_bytes(path.read_bytes() + b"\n")
    assert Suite.load(suite_copy).digest() != before


def test_a_model_card_does_not_make_another_suite(suite_copy: Path) -> None:
    before = Suite.load(suite_copy).digest()
    (suite_copy / "README.md").write_text("# A card")
    assert Suite.load(suite_copy).digest() == before


def test_reads_what_is_there(tiny_suite_folder: Path) -> None:
    suite = Suite.load(tiny_suite_folder)
    assert suite.name == "random"
    for split, roles in SPLITS.items():
        found = [sample.role for sample in suite.split(split)]
        assert {role: found.count(role) for role in roles} == roles
    assert len(suite.utility_prompts) == 6
    assert len(suite.general_captions) == 8


def test_blank_lines_and_unusual_characters_are_no_rows(suite_copy: Path) -> None:
    captions = ["line \u2028 separator", "next \x85 line", "form \f feed", "naïve 北斎"]
    lines = [json.dumps({"caption": c}, ensure_ascii=False) for c in captions]
    (suite_copy / "utility.jsonl").write_text("\n\n".join(lines) + "\n\n", encoding="utf-8")
    assert [p.caption for p in Suite.load(suite_copy).utility_prompts] == captions


def test_windows_line_ends_are_read(suite_copy: Path) -> None:
    path = suite_copy / "general.jsonl"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(Suite.load(suite_copy).general_captions) == 8


def test_a_component_is_a_folder_or_a_hub_id(tiny_suite_folder: Path) -> None:
    suite = Suite.load(tiny_suite_folder)
    assert suite.component("pipeline") == str(tiny_suite_folder / "pipeline")
    assert suite.component("someone/some-model") == "someone/some-model"


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an entry is missing": (lambda m: m.pop("pipeline"), "'pipeline'"),
    "an entry is unknown": (lambda m: m.update(colour="red"), "'colour'"),
    "an entry within is unknown": (lambda m: m["sampling"].update(eta=1), "'sampling.eta'"),
    "a name leads elsewhere": (lambda m: m.update(name="../up"), "lower-case"),
    "a number is none": (lambda m: m["sampling"].update(steps="many"), "'sampling.steps'"),
    "a number is out of range": (lambda m: m["sampling"].update(height=0), "'sampling.height'"),
    "budgets do not rise": (lambda m: m["quick"].update(budgets=[48, 24]), "strictly rising"),
    "there is no budget": (lambda m: m["quick"].update(budgets=[]), "'quick.budgets'"),
    "a budget is nothing": (lambda m: m["quick"].update(budgets=[0, 5]), "positive"),
    "the version is no text": (lambda m: m.update(version=1), "'version'"),
    "a key is no text": (lambda m: m.update({7: "x"}), "7"),
    "infinite guidance": (
        lambda m: m["sampling"].update(guidance_scale=float("inf")),
        "'sampling.guidance_scale'",
    ),
}


@pytest.mark.parametrize("fault", MANIFESTS)
def test_a_wrong_manifest(suite_copy: Path, fault: str) -> None:
    change, says = MANIFESTS[fault]
    edit_manifest(suite_copy, change)
    message = refusal(lambda: Suite.load(suite_copy))
    assert str(suite_copy / "suite.yaml") in message
    assert says in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no suite.yaml"),
        (b"a: [", "not readable as YAML"),
        (b"\xff\xfe\xff", "not readable as YAML"),
        (b"- a\n- b\n", "no mapping"),
        (b"", "no mapping"),
        (b"!!python/object/apply:os.getcwd []", "not readable as YAML"),
    ],
)
def test_a_manifest_that_cannot_be_read(suite_copy: Path, content: bytes | None, says: str) -> None:
    path = suite_copy / "suite.yaml"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    message = refusal(lambda: Suite.load(suite_copy))
    assert str(suite_copy) in message
    assert says in message


ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "no id": ({"id": ...}, "'id'"),
    "an id that leads elsewhere": ({"id": "../x"}, "'id'"),
    "no caption": ({"caption": ...}, "'caption'"),
    "an empty caption": ({"caption": ""}, "'caption'"),
    "a blank caption": ({"caption": "  "}, "'caption'"),
    "another role": ({"role": "victim"}, "'role'"),
    "an unknown column": ({"prompt": "a cat"}, "'prompt'"),
    "images as one text": ({"images": "images/x.png"}, "'images'"),
    "no source photograph": ({"cluster": ""}, "'cluster'"),
    "a negative duplication": ({"duplication": -1}, "'duplication'"),
}


@pytest.mark.parametrize("fault", ROWS)
def test_a_wrong_row(suite_copy: Path, fault: str) -> None:
    fields, says = ROWS[fault]
    edit_row(suite_copy, 3, **fields)
    message = refusal(lambda: Suite.load(suite_copy).samples)
    assert f"{suite_copy / 'samples.jsonl'}, row 3: " in message
    assert says in message


def test_an_id_that_stands_twice_names_both_rows_of_the_file(suite_copy: Path) -> None:
    edit_row(suite_copy, 4, id="test-memorized-1")
    path = suite_copy / "samples.jsonl"
    path.write_text("\n" + path.read_text())
    message = refusal(lambda: Suite.load(suite_copy).samples)
    assert f"{path}, row 5: id 'test-memorized-1' stands in row 3 already" in message


def test_ids_that_one_file_name_would_serve_are_one(suite_copy: Path) -> None:
    edit_row(suite_copy, 2, id="Test-Memorized-0")
    message = refusal(lambda: Suite.load(suite_copy).samples)
    assert "row 2" in message
    assert "row 1" in message


@pytest.mark.parametrize("table", ["samples", "utility", "general"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "missing"),
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"\xff\xfe", "not readable"),
        (b"{", "row 1: not JSON"),
        (b"[1]", "row 1: not a JSON object"),
        (b'{"text": "a"}', "row 1: "),
        (b'{"caption": 5}', "row 1: "),
        (b"[" * 100_000, "row 1: not JSON"),
    ],
)
def test_a_table_that_cannot_be_read(
    suite_copy: Path, table: str, content: bytes | None, says: str
) -> None:
    path = suite_copy / f"{table}.jsonl"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    suite = Suite.load(suite_copy)
    read = {
        "samples": lambda: suite.samples,
        "utility": lambda: suite.utility_prompts,
        "general": lambda: suite.general_captions,
    }
    message = refusal(read[table])
    assert str(path) in message
    assert says in message


def test_a_utility_prompt_may_have_a_kind(suite_copy: Path) -> None:
    rows = [{"caption": "a cat", "kind": "photograph"}, {"caption": "a ring"}]
    write_rows(suite_copy / "utility.jsonl", rows)
    kinds = [prompt.kind for prompt in Suite.load(suite_copy).utility_prompts]
    assert kinds == ["photograph", None]


@pytest.mark.parametrize("kind", [5, "", " ", ["scene"]])
def test_a_kind_that_is_no_text(suite_copy: Path, kind: object) -> None:
    rows = [{"caption": "a cat", "kind": "photograph"}, {"caption": "a ring", "kind": kind}]
    write_rows(suite_copy / "utility.jsonl", rows)
    message = refusal(lambda: Suite.load(suite_copy).utility_prompts)
    assert f"{suite_copy / 'utility.jsonl'}, row 2: 'kind' is no text" in message


def test_one_utility_caption_is_too_few_to_shuffle(suite_copy: Path) -> None:
    write_rows(suite_copy / "utility.jsonl", [{"caption": "alone"}])
    message = refusal(lambda: Suite.load(suite_copy).utility_prompts)
    assert str(suite_copy / "utility.jsonl") in message
    assert "two" in message


@pytest.mark.parametrize("place", ["../outside.png", "/etc/hostname", "images/../../outside.png"])
def test_an_image_outside_the_folder(suite_copy: Path, place: str) -> None:
    edit_row(suite_copy, 1, images=[place])
    suite = Suite.load(suite_copy)
    message = refusal(lambda: suite.originals(suite.samples[0]))
    assert place in message
    assert "leads out of the suite folder" in message
    assert str(suite_copy / "samples.jsonl") in message


def test_a_link_out_of_the_folder(suite_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"")
    (suite_copy / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    edit_row(suite_copy, 1, images=["images/link.png"])
    suite = Suite.load(suite_copy)
    assert "leads out" in refusal(lambda: suite.originals(suite.samples[0]))


@pytest.mark.parametrize("entry", ["pipeline", "samples"])
def test_a_component_outside_the_folder(suite_copy: Path, tmp_path: Path, entry: str) -> None:
    (tmp_path / "outside").mkdir()
    edit_manifest(suite_copy, lambda m: m.update({entry: "../outside"}))
    suite = Suite.load(suite_copy)

    def use() -> object:
        return suite.component("../outside") if entry == "pipeline" else suite.samples

    message = refusal(use)
    assert str(suite_copy / "suite.yaml") in message
    assert "leads out" in message


def test_a_split_that_is_not_there_lists_those_that_are(tiny_suite_folder: Path) -> None:
    suite = Suite.load(tiny_suite_folder)
    assert "dev, test" in refusal(lambda: suite.split("train"))
