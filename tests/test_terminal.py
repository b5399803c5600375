"""What reaches the terminal: escapes are shown, and no stream or account is needed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dorib.cli.app import main
from dorib.cli.progress import Bars, Lines
from dorib.cli.tables import plain_table
from dorib.cli.terminal import say, show_table
from dorib.errors import DoribError
from dorib.printable import LONGEST_LINE, one_line, printable, shortened
from fixtures.suites import manifest, write_manifest, write_rows

ESCAPES = "\x1b]0;OWNED\x07\x1b[2J\x1b[31mred\u202e\u2066\x9b31m\u2028"
PROGRAM = "from dorib.cli.app import main; main()"


@pytest.fixture
def hostile(suite_copy: Path) -> Path:
    """A suite whose texts act on a terminal, if they can."""
    rows = [json.loads(line) for line in (suite_copy / "samples.jsonl").read_text().splitlines()]
    write_rows(suite_copy / "samples.jsonl", [row | {"caption": ESCAPES} for row in rows])
    named = {"title": ESCAPES, "licence": ESCAPES, "version": ESCAPES}
    write_manifest(suite_copy, manifest() | named)
    return suite_copy


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert isinstance(exit.value.code, int)
    return exit.value.code


def harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_a_suite_s_texts_are_shown(hostile: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("suites", "show", str(hostile), "--samples") == 0
    out = capfd.readouterr().out
    assert harmless(out)
    assert r"\x1b]0;OWNED\x07" in "".join(out.split())
    assert call("suites", "show", str(hostile), "--samples", "--json") == 0
    assert harmless(capfd.readouterr().out)


def test_an_error_s_texts_are_shown(hostile: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--suite", str(hostile), "--split", ESCAPES) == 2
    assert call("run", "--suite", f"./{ESCAPES}") == 2
    assert call("run", "--config", f"{ESCAPES}.yaml") == 2
    (hostile / "suite.yaml").write_text(f'"{ESCAPES[:1].encode().hex()}\\e[31m": 1')
    assert call("suites", "show", str(hostile)) == 2
    assert harmless(capfd.readouterr().err)


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_what_it_is_told(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, color_system=None, width=200)
    with (Bars if terminal else Lines)(console) as reporter, reporter.verb("attack", ESCAPES, 3):
        reporter.note(ESCAPES)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "OWNED" in text
    assert "\x1b]0;" not in text and "\x07" not in text and "\u202e" not in text


@given(st.text(alphabet=st.characters(codec=None)))
def test_any_text_in_a_line(text: str) -> None:
    shown = one_line(text)
    assert len(shown) <= LONGEST_LINE
    assert not any(letter in shown for letter in "\x00\n\r\t\x07\x1b\x7f\x85\x9b\u2028\u202e\u2066")
    shown.encode()
    assert printable(printable(text)) == printable(text)
    assert one_line(str(DoribError(text))) == str(DoribError(text))


@given(st.recursive(st.text() | st.integers(), lambda x: st.lists(x) | st.tuples(x, x)))
def test_any_value_in_a_message(value: object) -> None:
    assert len(shortened(value)) <= 160
    assert "\n" not in shortened(value)


@given(
    st.lists(
        st.tuples(st.text(max_size=40), st.integers(0, 10**9), st.text(max_size=90)), max_size=4
    ),
    st.integers(1, 120),
)
def test_a_listing_cuts_no_number(rows: list[tuple[str, int, str]], width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    cells = [(name, str(number), text) for name, number, text in rows]
    show_table(console, plain_table(("name", "number", "text"), cells))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert all(str(number) in shown for _, number, _ in rows)
    assert "…" not in shown.replace("…", "", sum(text.count("…") for r in cells for text in r))


def test_lines_are_not_wrapped() -> None:
    console = Console(file=io.StringIO(), width=20)
    say(console, "[red]x[/red] :smile: " + "y" * 100)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "[red]x[/red] :smile: " + "y" * 100 + "\n"


def dorib(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )


@pytest.mark.parametrize("arguments", [["suites", "--json"], ["suites", "show"]], ids=" ".join)
def test_a_terminal_without_width(arguments: list[str], hostile: Path) -> None:
    given = [*arguments, *([] if "--json" in arguments else [str(hostile)])]
    assert len(dorib(*given, COLUMNS="0").stdout) > 100


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_stream_of_few_letters(encoding: str, hostile: Path) -> None:
    rows = [json.loads(line) for line in (hostile / "samples.jsonl").read_text().splitlines()]
    write_rows(hostile / "samples.jsonl", [row | {"caption": "北斎 é"} for row in rows])
    done = dorib("suites", "show", str(hostile), "--samples", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert rb"\u5317" in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["table", "JSON"])
def test_a_reader_that_has_gone(as_json: list[str], hostile: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "suites", "show", str(hostile), "--samples", *as_json],
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert not done.stderr
    assert done.returncode == 1


def test_help_whose_reader_has_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--help"], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_refusal_that_cannot_be_written() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", PROGRAM, "nosuch"], stderr=full)
    assert done.returncode == 2


def test_a_closed_stream(hostile: Path) -> None:
    command = f'exec "{sys.executable}" -c "{PROGRAM}" suites show "{hostile}" >&-'
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["suites", "show"], ["--help"], ["--version"]], ids=" ".join)
def test_a_full_disk(arguments: list[str], hostile: Path) -> None:
    if arguments[0] == "suites":
        arguments = [*arguments, str(hostile)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 2
    assert done.stderr.startswith(b"dorib: error: ")
    assert b"the output cannot be" in done.stderr and b"(No space left" in done.stderr
    assert done.stderr.count(b"\n") == 1


NOBODY = """
import pwd

def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = unknown
from dorib.cli.app import main
main()
"""


@pytest.mark.parametrize("arguments", [["suites"], ["fetch", "sd14-vm", "--offline"]])
def test_no_home_and_no_account(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOBODY, *arguments],
        capture_output=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert b"Traceback" not in done.stderr
    expected = (0, 0) if arguments == ["suites"] else (2, 1)
    assert (done.returncode, done.stderr.count(b"\n")) == expected, done.stderr
    assert not list(tmp_path.iterdir())
    if arguments != ["suites"]:
        assert b"set HOME" in done.stderr


def test_captions_that_are_cut_are_said(
    suite_copy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in (suite_copy / "samples.jsonl").read_text().splitlines()]
    write_rows(suite_copy / "samples.jsonl", [row | {"caption": "a cat"} for row in rows])
    long = [{"caption": "a dog"}, {"caption": "a very long caption " * 100}]
    write_rows(suite_copy / "utility.jsonl", [*long, *long])
    write_manifest(suite_copy, manifest() | {"oracle": None})
    short = ["--limit", "1", "--seeds", "1", "--metric", "clip"]
    assert call("run", "--suite", str(suite_copy), "--out", str(tmp_path / "out"), *short) == 0
    err = capfd.readouterr().err
    assert err.count("was cut") == 1
    assert "2 captions are longer than the 16 tokens that the text encoder reads" in err
    assert "first in utility-0001" in err
