"""Prompt tables: the published formats, what is filled in, and broken copies refused by row."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from dorib.errors import DoribError
from dorib.suites.prompt_tables import PromptTable, read_prompt_table, read_rows
from dorib.suites.suite import Suite
from fixtures import web

DATA = Path(os.environ.get("DORIB_DATA", Path(__file__).parents[2] / "shared" / "data"))
published = pytest.mark.skipif(not DATA.is_dir(), reason="the published lists are not at hand")

NEMO = """;Caption;URL;type;mean_sscd;max_sscd;Index
0;The podcast;https://a.org/1.jpg;VM;0.84;0.85;1030727993
1;"Quotes; ""and"" separators";http://a.org/2.jpg?x=1;TM;-0.02;;2026642560
2;A third;https://a.org/3.jpg;;;;7
"""
MEMBENCH = """,prompt,urls
0,fire flag,['https://a.org/flag.jpg']
1,western rug,"['https://a.org/rug.jpg', 'https://a.org/huxley.jpg']"
2,red rug,"['https://a.org/huxley.jpg', 'https://a.org/other.jpg']"
3,navy rug,['https://a.org/other.jpg']
"""


def read(folder: Path, text: str, name: str = "prompts.csv", **spec: Any) -> list[dict[str, Any]]:
    (folder / name).write_text(text, encoding="utf-8")
    rows = read_prompt_table(PromptTable(table=name, **spec), lambda path: folder / path)
    return [row.fields for row in rows]


def test_nemo(tmp_path: Path) -> None:
    first, second, third = read(tmp_path, NEMO)
    assert first == {
        "id": "1030727993",
        "caption": "The podcast",
        "urls": ("https://a.org/1.jpg",),
        "images": (),
        "kind": "verbatim",
        "role": "memorized",
        "cluster": "1030727993",
        "split": "test",
    }
    assert second["caption"] == 'Quotes; "and" separators'
    assert second["kind"] == "template"
    assert "kind" not in third


def test_wen_with_several_originals(tmp_path: Path) -> None:
    (tmp_path / "gt_images" / "7").mkdir(parents=True)
    for name in ("b.png", "a.png", "notes.txt"):
        (tmp_path / "gt_images" / "7" / name).write_bytes(web.picture())
    (tmp_path / "gt_images" / "8.jpg").write_bytes(b"")
    lines = [{"caption": f"picture {n}", "index": n, "url": f"http://a.org/{n}"} for n in (7, 8, 9)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    rows = read(tmp_path, text, "sdv1.jsonl", images="gt_images")
    assert [row["images"] for row in rows] == [
        ("gt_images/7/a.png", "gt_images/7/b.png"),
        ("gt_images/8.jpg",),
        (),
    ]


def test_membench_s_shared_originals_make_clusters(tmp_path: Path) -> None:
    rows = read(tmp_path, MEMBENCH)
    assert [row["id"] for row in rows] == ["row-2", "row-3", "row-4", "row-5"]
    assert [row["cluster"] for row in rows] == ["row-2", "row-3", "row-3", "row-3"]
    assert rows[1]["urls"] == ("https://a.org/rug.jpg", "https://a.org/huxley.jpg")


def test_a_datasets_folder(tmp_path: Path) -> None:
    columns = {"id": ["a", "b"], "caption": ["one", "two"], "images": [["a.png"], []]}
    table = datasets.Dataset.from_dict(columns | {"type": ["VM", None]})
    table.save_to_disk(str(tmp_path / "one"))
    rows = read_prompt_table(PromptTable(table="one"), lambda path: tmp_path / path)
    assert [(row.number, row.fields["images"]) for row in rows] == [(1, ("images/a.png",)), (2, ())]
    datasets.DatasetDict(test=table).save_to_disk(str(tmp_path / "many"))
    with pytest.raises(DoribError, match="many/test"):
        read_rows(tmp_path / "many")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DoribError, match="not readable as a datasets folder"):
        read_rows(tmp_path / "empty")


def test_every_column(tmp_path: Path) -> None:
    text = (
        "id,caption,images,kind,role,split,cluster,duplication,licence,source,colour\n"
        'x,a cat,"[""a.png"", ""b.png""]",template,control,dev,cat,4,CC0,me,red\n'
        "y,a dog,d.png,VM,,,,,,,\n"
    )
    first, second = read(tmp_path, text, ignore=["colour"])
    assert first == {
        "id": "x",
        "caption": "a cat",
        "images": ("images/a.png", "images/b.png"),
        "kind": "template",
        "role": "control",
        "split": "dev",
        "cluster": "cat",
        "duplication": 4,
        "licence": "CC0",
        "source": "me",
    }
    assert second["images"] == ("images/d.png",)


def test_kinds_are_chosen_or_set(tmp_path: Path) -> None:
    assert [row["id"] for row in read(tmp_path, NEMO, only="verbatim")] == ["1030727993"]
    assert {row["kind"] for row in read(tmp_path, NEMO, kind="unknown")} == {"unknown"}
    with pytest.raises(DoribError, match="no memorized sample of kind verbatim"):
        read(tmp_path, MEMBENCH, only="verbatim")


def test_a_split_depends_on_the_cluster_alone(tmp_path: Path) -> None:
    names = [f"{number}" for number in range(400)]
    lines = ["id,caption,cluster", *(f"{n},picture,{int(n) // 2}" for n in names)]
    rows = read(tmp_path, "\n".join(lines), dev_share=0.25)
    split = {row["id"]: row["split"] for row in rows}
    assert all(split[str(2 * n)] == split[str(2 * n + 1)] for n in range(200))
    assert 70 < Counter(split.values())["dev"] < 130
    few = read(tmp_path, "\n".join([lines[0], *reversed(lines[200:])]), dev_share=0.25)
    assert all(split[row["id"]] == row["split"] for row in few)


def test_unusual_characters_are_no_rows(tmp_path: Path) -> None:
    text = '\ufeffid;caption\r\na;line \u2028 and \x85\r\nb;"two\r\nlines"\r\nc;北斎\r\n\r\n'
    rows = read(tmp_path, text)
    assert [row["caption"] for row in rows] == ["line \u2028 and \x85", "two\nlines", "北斎"]


def nemo_with(number: int, **columns: str) -> str:
    """NeMo's table with other content in row `number` of the file."""
    rows = list(csv.DictReader(io.StringIO(NEMO), delimiter=";"))
    rows[number - 2] |= columns
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=";", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


BROKEN: dict[str, tuple[str, str]] = {
    "no caption": (nemo_with(3, Caption=" "), "row 3: no caption"),
    "an unknown type": (nemo_with(3, type="XX"), "row 3: column 'type' holds 'XX'"),
    "a score beyond 1": (nemo_with(4, max_sscd="1.5"), "row 4: column 'max_sscd' holds '1.5'"),
    "a score in words": (nemo_with(4, mean_sscd="high"), "row 4: column 'mean_sscd'"),
    "a score that is none": (nemo_with(4, mean_sscd="nan"), "row 4: column 'mean_sscd'"),
    "a local file": (nemo_with(2, URL="file:///etc/passwd"), "row 2: column 'URL'"),
    "an address without host": (nemo_with(2, URL="https:///x.jpg"), "row 2: column 'URL'"),
    "an address with a password": (nemo_with(2, URL="http://a:b@c.org/"), "row 2: column 'URL'"),
    "an address with a bad port": (nemo_with(2, URL="http://a.org:x/"), "row 2: column 'URL'"),
    "no address": (nemo_with(2, URL="1.jpg"), "row 2: column 'URL'"),
    "a field too few": (NEMO.replace(";7", ""), "row 4: 6 fields where the header has 7"),
    "a field too many": (NEMO.replace(";VM", ";VM;"), "row 2: 8 fields where the header has 7"),
    "an open quote": (NEMO.replace(";A third", ';"A third'), "row 4: not CSV"),
    "a stray quote": (NEMO.replace(";A third", ';"A" third'), "row 4: not CSV"),
    "cut short": (NEMO[:-20], "row 4: "),
    "empty": ("", "empty"),
    "a header alone": (NEMO.splitlines()[0], "empty"),
    "an unknown column": (NEMO.replace(";type;", ";flavour;"), "row 2: there is no column"),
    "a column twice": (NEMO.replace(";type;", ";prompt;"), "row 2: caption stands under two"),
    "a list that is none": (MEMBENCH.replace("jpg']", "jpg'", 1), "row 2: column 'urls'"),
    "code for a list": (
        MEMBENCH.replace("['https://a.org/flag.jpg']", "[__import__('os')]"),
        "row 2: column 'urls' is no list",
    ),
    "numbers for addresses": (MEMBENCH.replace("['https://a.org/flag.jpg']", "[5]"), "row 2: "),
    "another role": ("id,caption,role\nx,cat,judge\n", "row 2: column 'role'"),
    "a negative duplication": ("id,caption,duplication\nx,cat,-1\n", "row 2: column 'dup"),
}


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(DoribError) as refused:
        act()
    message = str(refused.value)
    assert "\n" not in message
    assert "; " in message or ": mend" in message, f"no remedy: {message}"
    return message


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_csv(tmp_path: Path, fault: str) -> None:
    text, says = BROKEN[fault]
    message = refusal(lambda: read(tmp_path, text))
    assert message.startswith(str(tmp_path / "prompts.csv"))
    assert says in message


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "row 2: not JSON"),
        ("[1]", "row 2: not a JSON object"),
        ('{"caption": 5}', "row 2: column 'caption' holds 5"),
        ('{"caption": "x", "index": true}', "row 2: column 'index' holds True"),
        ('{"caption": "x", "index": {}}', "row 2: column 'index'"),
        ('{"index": 3}', "row 2: no caption"),
        ("[" * 100_000, "row 2: not JSON"),
    ],
)
def test_a_broken_jsonl(tmp_path: Path, line: str, says: str) -> None:
    good = '{"caption": "fine", "index": 1}\n'
    message = refusal(lambda: read(tmp_path, good + line + "\n", "prompts.jsonl"))
    assert message.startswith(str(tmp_path / "prompts.jsonl"))
    assert says in message


@pytest.mark.parametrize("name", ["prompts.csv", "prompts.jsonl", "prompts.txt", "prompts"])
def test_a_table_that_is_not_there(tmp_path: Path, name: str) -> None:
    message = refusal(lambda: read_rows(tmp_path / name))
    assert f"{tmp_path / name}: missing" in message


def test_other_files_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "prompts.parquet").write_bytes(b"PAR1")
    assert "not a prompt table" in refusal(lambda: read_rows(tmp_path / "prompts.parquet"))
    (tmp_path / "latin.csv").write_bytes(b"id;caption\nx;caf\xe9\n")
    assert "write it as UTF-8" in refusal(lambda: read_rows(tmp_path / "latin.csv"))


@published
def test_the_published_lists() -> None:
    spec = PromptTable(table="memorized_laion_prompts.csv", dev_share=0.25)
    rows = read_prompt_table(spec, lambda path: DATA / path)
    assert Counter(row.fields["kind"] for row in rows) == {"verbatim": 112, "template": 388}
    assert (
        len({row.fields["id"] for row in rows}) == len({r.fields["cluster"] for r in rows}) == 500
    )
    others = PromptTable(table="unmemorized_laion_prompts.csv")
    assert len(read_prompt_table(others, lambda path: DATA / path)) == 500
    captions = [row["Caption"] for _, row in read_rows(DATA / "coco2014_val_10000.csv")]
    assert (len(captions), len(set(captions))) == (10_000, 9_966)


@published
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda rows: rows[99].rsplit(";", 1)[0], "row 100: 6 fields"),
        (lambda rows: rows[99].replace("http", "gopher"), "row 100: column 'URL'"),
        (lambda rows: rows[99].replace(";TM;", ";TV;").replace(";VM;", ";TV;"), "row 100: column"),
        (lambda rows: rows[98], "row 100: id"),
    ],
)
def test_broken_copies_of_the_published_list(
    suite_copy: Path, damage: Callable[[list[str]], str], says: str
) -> None:
    lines = (DATA / "memorized_laion_prompts.csv").read_text(encoding="utf-8").splitlines()
    lines[99] = damage(lines)
    (suite_copy / "prompts.csv").write_text("\n".join(lines), encoding="utf-8")
    manifest = (suite_copy / "suite.yaml").read_text()
    (suite_copy / "suite.yaml").write_text(manifest + "samples: {table: prompts.csv}\n")
    assert says in refusal(lambda: Suite.load(suite_copy).samples)
