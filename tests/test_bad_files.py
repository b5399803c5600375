"""Files that went wrong once, through the command line: one line, exit code 2, in bounded time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dorib.cli.app import main
from dorib.suites.suite import Suite
from fixtures.suites import manifest, write_manifest

CASES = Path(__file__).parents[2] / "shared" / "cases"
LONGEST = 400
"""Characters of a line, the folder's path left out."""

Dorib = Callable[..., str]


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Dorib:
    """Runs a command, sees that it refuses as it should, and gives the line it prints."""

    def refuse(*arguments: str) -> str:
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        printed = capfd.readouterr()
        assert exit.value.code == 2, printed
        assert printed.err.startswith("dorib: error: ")
        assert printed.err.count("\n") == 1, printed.err
        line = printed.err.strip().replace(str(tmp_path), "")
        assert line.isprintable() and len(line) <= LONGEST, line
        assert not (tmp_path / "out").exists()
        return line

    return refuse


def run_on(suite: Path, *options: str) -> tuple[str, ...]:
    return ("run", "--suite", str(suite), "--out", str(suite.parent / "out"), *options)


NUL, HALF = "a\0b", "images/\ud800"
LONG, HUGE, DEEP = "x" * 5000, "9" * 10_000, "[" * 2000

MANIFESTS: dict[str, tuple[str, str]] = {
    "deep nesting": (DEEP, "nested more than 50 levels"),
    "deep blocks": ("- " * 2000, "nested more than 50 levels"),
    "a huge number": (f"batch_size: {HUGE}", "a number of 10,000 characters"),
    "a huge number in hexadecimal": (f"batch_size: 0x{'f' * 40}", "beyond 64 bits"),
    "a number of nothing": ("batch_size: !!int ''", "not what its tag says"),
    "a number that is none": ("batch_size: !!float x", "not what its tag says"),
    "a truth value that is none": ("batch_size: !!bool x", "not what its tag says"),
    "a date by its tag": ("version: !!timestamp x", "the tag"),
    "a mapping that is a text": ("quick: !!map x", "the tag"),
    "a set": ("quick: !!set {a, b}", "the tag"),
    "a key that is a list": ("? [a]\n: b", "a key that is no text"),
    "a key twice": ("name: a\nname: b", "'name' stands twice"),
    "a merge bomb": (
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9)),
        "aliases that unfold to more than",
    ),
    "a bomb of lists": (
        "a0: &a0 [x]\n"
        + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)),
        "aliases that unfold to more than",
    ),
    "an alias of itself": ("a: &a [*a]", "aliases"),
    "a version of many digits": (f"%YAML {'9' * 5000}.1\n---\na: 1", "not readable as YAML"),
    "a character beyond all": (r'a: "\UFFFFFFFF"', "not readable as YAML"),
    "NUL": (r'samples: "a\0b"', "NUL"),
    "half a character": (r'samples: "images/\ud800"', "surrogate"),
    "a large file": ("# \n" * 100_000, "more than 262,144 bytes"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest(case: str, tmp_path: Path, refused: Dorib) -> None:
    content, says = MANIFESTS[case]
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "suite.yaml").write_text(content)
    assert says in refused("suites", "show", str(tmp_path / "suite"))
    (tmp_path / "run.yaml").write_text(content)
    assert says in refused("run", "--config", str(tmp_path / "run.yaml"))


@pytest.mark.parametrize("entry", ["pipeline", "oracle", "clip", "samples", "utility", "general"])
def test_a_name_that_no_file_can_have(
    entry: str, tmp_path: Path, suite_copy: Path, refused: Dorib
) -> None:
    write_manifest(suite_copy, manifest() | {entry: LONG})
    line = refused(*run_on(suite_copy))
    assert "no file's name is this long (5,000 characters)" in line


@pytest.mark.parametrize("entry", ["pipeline", "oracle"])
def test_a_component_outside_is_not_hashed(entry: str, suite_copy: Path) -> None:
    write_manifest(suite_copy, manifest() | {entry: "../.."})
    with pytest.raises(Exception, match="leads out of the suite folder"):
        Suite.load(suite_copy).digest()


ROWS: dict[str, tuple[str, str]] = {
    "a huge number": (f'{{"caption": {HUGE}}}', "a whole number of 10,000 digits"),
    "deep nesting": (f'{{"caption": {"[" * 60}{"]" * 60}}}', "nested more than 50 levels"),
    "very deep nesting": ("[" * 100_000, "nested more than 50 levels"),
    "NUL": (json.dumps({"caption": NUL}), "NUL"),
    "half a character": (json.dumps({"caption": HALF}), "surrogate"),
    "a name twice": ('{"caption": "a", "caption": "b"}', "'caption' stands twice"),
    "a long name": (json.dumps({LONG: 1}), "row 1"),
    "a long value": (json.dumps({"caption": [LONG]}), "row 1"),
}


@pytest.mark.parametrize(
    ("table", "case"),
    [*(("samples", case) for case in ROWS), ("utility", "NUL"), ("general", "a huge number")],
)
def test_a_row(table: str, case: str, suite_copy: Path, refused: Dorib) -> None:
    content, says = ROWS[case]
    (suite_copy / f"{table}.jsonl").write_text(content)
    line = refused(*run_on(suite_copy))
    assert f"{table}.jsonl, row 1" in line
    assert says in line


def pipe(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def gigabytes(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(8 << 30)


KINDS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a pipe": (pipe, "no regular file"),
    "a link to itself": (loop, "symbolic links"),
    "a device": (device, ""),
    "a folder": (Path.mkdir, "no regular file"),
    "many gigabytes": (gigabytes, "more than"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["suite.yaml", "samples.jsonl", "utility.jsonl", "run.yaml"])
def test_what_is_no_file_is_not_waited_for(
    name: str, kind: str, suite_copy: Path, refused: Dorib
) -> None:
    make, says = KINDS[kind]
    (suite_copy / name).unlink(missing_ok=True)
    make(suite_copy / name)
    options = ("--config", str(suite_copy / name)) if name == "run.yaml" else ()
    line = refused(*run_on(suite_copy, *options))
    assert says in line


@pytest.mark.parametrize("kind", ["a pipe", "a folder"])
def test_a_picture_that_is_no_file(kind: str, suite_copy: Path, refused: Dorib) -> None:
    path = suite_copy / "images" / "test-memorized-0.png"
    path.unlink()
    KINDS[kind][0](path)
    assert "no regular file" in refused(*run_on(suite_copy))


SPECS = [
    f"x:a={HUGE}",
    f"x:a={'[' * 3000}",
    "x:a=!!int ''",
    "x:a=&a [*a]",
    f"x:{LONG}",
    f"x:a={LONG}[",
]


@pytest.mark.parametrize("spec", SPECS, ids=range(len(SPECS)))
def test_a_spec(spec: str, suite_copy: Path, refused: Dorib) -> None:
    refused(*run_on(suite_copy, "-m", spec))
    write_manifest(suite_copy, manifest() | {"required_attacks": [spec]})
    refused(*run_on(suite_copy))


def test_a_long_name_of_anything(suite_copy: Path, refused: Dorib) -> None:
    refused("suites", "show", "./" + LONG[:150] + "\x1b[31m")
    refused("run", "--config", LONG[:150])


def test_a_date_is_a_text(tmp_path: Path, refused: Dorib) -> None:
    (tmp_path / "run.yaml").write_text("suite: 2001-13-45")
    line = refused("run", "--config", str(tmp_path / "run.yaml"))
    assert "unknown suite '2001-13-45'" in line


def shown(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    printed = capfd.readouterr()
    assert exit.value.code == 0, printed.err
    return printed.out


def test_a_byte_order_mark_is_read(suite_copy: Path) -> None:
    for name in ("samples.jsonl", "utility.jsonl", "suite.yaml"):
        path = suite_copy / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    suite = Suite.load(suite_copy)
    assert len(suite.samples) == 10
    assert len(suite.utility_prompts) == 6


@pytest.mark.parametrize(("head", "ending"), [("caption", "csv"), ("CAPTION", "CSV")])
def test_a_csv_of_captions_in_any_case(head: str, ending: str, suite_copy: Path) -> None:
    (suite_copy / f"u.{ending}").write_text(f"{head}\na\nb\n")
    write_manifest(suite_copy, manifest() | {"utility": f"u.{ending}"})
    assert [p.caption for p in Suite.load(suite_copy).utility_prompts] == ["a", "b"]


def test_a_column_that_stands_twice(suite_copy: Path, refused: Dorib) -> None:
    (suite_copy / "prompts.CSV").write_text("id,caption,Caption\na,boat,ship\n")
    write_manifest(suite_copy, manifest() | {"samples": {"table": "prompts.CSV"}})
    line = refused("suites", "show", str(suite_copy), "--samples")
    assert "row 1: column 'Caption' stands twice" in line


@pytest.mark.parametrize("letter", ["\u2028", "\x85"])
def test_a_cluster_of_odd_letters_ends_no_run(
    letter: str, suite_copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = suite_copy / "samples.jsonl"
    rows = [json.loads(line) for line in path.read_text().split("\n") if line]
    for row in rows:
        row["cluster"] += f"{letter}b"
        row["caption"] += f"{letter}b"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_manifest(suite_copy, descriptor_of(suite_copy) | {"oracle": None})
    short = ("--limit", "1", "--seeds", "1", "--metric", "sscd")
    printed = shown(capfd, *run_on(suite_copy, *short))
    assert "1 memorized sample" in printed
    assert "Nothing had to be computed" in shown(capfd, *run_on(suite_copy, *short))


def descriptor_of(suite: Path) -> dict[str, Any]:
    content = yaml.safe_load((suite / "suite.yaml").read_text())
    return manifest() | {"descriptor": content["descriptor"]}


def test_a_folder_does_not_take_the_place_of_a_suite(
    suite_copy: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    suite_copy.rename(suite_copy.parent / "tiny")
    monkeypatch.chdir(suite_copy.parent)
    assert '"name": "tiny"' in shown(capfd, "suites", "show", "tiny", "--json")
    for folder in ("./tiny", "tiny/", str(suite_copy.parent / "tiny")):
        assert '"name": "random"' in shown(capfd, "suites", "show", folder, "--json")
    (suite_copy.parent / "tiny").rename("other")
    assert '"name": "random"' in shown(capfd, "suites", "show", "other", "--json")


def cases(*beginnings: str) -> list[Path]:
    return sorted(p for p in CASES.glob("*") if p.name.startswith(beginnings))


@pytest.mark.parametrize("case", cases("parse-"), ids=lambda path: path.name[:60])
def test_the_cases_that_were_seen(case: Path, suite_copy: Path, refused: Dorib) -> None:
    [given] = [path for path in case.iterdir() if path.name != "README"]
    content = given.read_bytes()
    if given.name == "spec.txt":
        refused(*run_on(suite_copy, "-m", content.decode()))
        return
    (suite_copy / given.name).write_bytes(content)
    if given.name == "run.yaml":
        refused("run", "--config", str(suite_copy / "run.yaml"))
    else:
        refused(*run_on(suite_copy))
