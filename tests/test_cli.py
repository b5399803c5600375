"""The command line: its commands, its progress and its table of results."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from rich.console import Console

from dorib import runner
from dorib.cli.app import BAD_INPUT, app, main
from dorib.cli.display import results_table, show_result
from dorib.cli.progress import Bars, Lines, Pace, duration, reporter_for
from dorib.config import RunConfig
from dorib.contracts.registration import BUILT_IN_COMMANDS
from dorib.ranking.entries import Entry, read_entry
from dorib.report.overview import flags
from dorib.report.run_result import RunResult

LONG_LABEL = "wanda:baseline=general,baseline_captions=16,scope=per_sample,sparsity=0.05"


def call(*arguments: str) -> str:
    """What a command prints that ends well."""
    return both(*arguments)[0]


def both(*arguments: str) -> tuple[str, str]:
    """What a command that ends well prints on standard output and on standard error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as exit,
    ):
        main(arguments)
    assert exit.value.code == 0
    return out.getvalue(), err.getvalue()


@dataclass(frozen=True)
class Finished:
    arguments: tuple[str, ...]
    printed: str
    progress: str
    """What came on standard error."""
    out: Path

    @property
    def entries(self) -> list[Entry]:
        return [read_entry(path) for path in sorted((self.out / "entries").iterdir())]


@pytest.fixture(scope="module")
def finished(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A short run with every kind of row."""
    out = tmp_path_factory.mktemp("finished")
    arguments = (
        *("run", "--suite", str(tiny_suite_folder), "--out", str(out)),
        *("-m", "wanda:sparsity=0.1", "-m", "wanda:sparsity=0.2,scope=per_sample", "-a", "dori"),
        *("--limit", "1", "--seeds", "1", "--budgets", "24"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        return Finished(arguments, *both(*arguments), out)


def table_of(printed: str) -> list[str]:
    """The lines of the table, from its head to the empty line below it."""
    lines = printed.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("mitigation / attack"))
    return lines[start : lines.index("", start)]


def test_run_prints_a_row_for_each_mitigation_and_attack(finished: Finished) -> None:
    table = table_of(finished.printed)
    assert max(map(len, table)) <= 80
    rows = [line.split() for line in table[2:] if line.startswith("  ")]
    assert [row[0] for row in rows if "(" in " ".join(row)] == ["none", "dori"] * 4
    heads = [line.split()[0] for line in table[2:] if not line.startswith("  ")]
    assert heads == ["none", "retrain", "wanda:sparsity=0.1", "wanda:scope=per_sample,"]


def test_run_prints_the_numbers_of_its_entries(finished: Finished) -> None:
    [entry] = [
        entry
        for entry in finished.entries
        if (entry.mitigation.label, entry.attack.label) == ("retrain", "dori")
    ]
    assert entry.memorization_rate and entry.controls_rate and entry.oracle_rate
    rate = entry.memorization_rate
    row = table_of(finished.printed)[7].split()
    assert row[:3] == ["dori", f"{rate.rate:.2f}", f"({rate.low:.2f}-{rate.high:.2f})"]
    assert row[3:5] == [f"{entry.controls_rate.rate:.2f}", f"{entry.oracle_rate.rate:.2f}"]
    assert row[6] == f"{entry.work.search_mean_memorized:.0f}" == "24"


def test_run_says_how_much_was_run(finished: Finished) -> None:
    line = "Custom selection: 1 memorized sample; 1 control; 1 seed; budget 24. --full"
    assert line in finished.printed


def test_run_names_its_files(finished: Finished) -> None:
    places = dict(
        line.split(maxsplit=1)
        for line in finished.printed.splitlines()
        if line.startswith(("leaderboard", "entries"))
    )
    assert all(Path(place).exists() for place in places.values())
    assert len(places) == 2
    [example] = [line.split()[-1] for line in finished.printed.splitlines() if "example" in line]
    assert Path(example).is_file()


def test_run_tells_of_each_verb_where_there_is_no_terminal(finished: Finished) -> None:
    lines = finished.progress.splitlines()
    start = lines.index("attack   none x dori")
    assert lines[start + 1].startswith("attack   none x dori: done in ")
    assert {line.split()[0] for line in lines[:start]} >= {"mitigate", "generate", "measure"}
    assert "\x1b" not in finished.progress + finished.printed


def test_only_results_come_on_standard_output(finished: Finished) -> None:
    first, second = finished.printed.splitlines()[:2]
    assert (first, second.split()[:2]) == ("", ["mitigation", "/"])
    assert not [line for line in finished.printed.splitlines() if " x dori: " in line]


def test_the_same_run_again_says_that_it_computed_nothing(finished: Finished) -> None:
    printed, progress = both(*finished.arguments)
    assert "Nothing had to be computed" in printed
    assert not progress


@pytest.mark.parametrize(
    ("profile", "words"),
    [("quick", "Quick profile"), ("full", "Full profile"), ("custom", "Custom selection")],
)
def test_scale(finished: Finished, profile: Any, words: str) -> None:
    shown = show(finished.entries, profile)
    assert words in shown
    assert ("--full runs everything" in shown) == (profile != "full")


def show(entries: list[Entry], profile: Any = "quick", width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    paths = Path("leaderboard.json"), [Path("entries/a.json")], {("a", "b"): Path("pictures/a.b")}
    board, files, pictures = paths
    result = RunResult(entries, board, files, pictures, Path("records.jsonl"), profile, False)
    show_result(result, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_flags(finished: Finished) -> None:
    entry = next(entry for entry in finished.entries if entry.scope == "per_sample")
    plain = {"errors": 0, "ranked": True, "scope": "global", "bypass": False}
    assert not list(flags(entry.model_copy(update=plain)))
    every = entry.model_copy(update={"errors": 2, "bypass": True, "ranked": False})
    assert list(flags(every)) == ["unranked", "2 errors", "per sample", "bypass"]
    one = entry.model_copy(update=plain | {"errors": 1})
    assert list(flags(one)) == ["1 error"]
    impossible = entry.model_copy(update=plain | {"ranked": False, "not_applicable": "no prompt"})
    assert list(flags(impossible)) == ["not applicable"]


def test_a_flag_of_all_cells_stands_at_the_mitigation(finished: Finished) -> None:
    cells = [entry for entry in finished.entries if entry.mitigation.name == "wanda"][:2]
    cells = [c.model_copy(update={"ranked": True, "reason_not_ranked": None}) for c in cells]
    cells[1] = cells[1].model_copy(update={"bypass": True})
    per_sample = [cell.model_copy(update={"scope": "per_sample"}) for cell in cells]
    lines = table_of(show(per_sample))[2:]
    assert lines[0].rstrip().endswith("per sample")
    assert [line.rstrip().endswith("bypass") for line in lines[1:] if "(" in line] == [False, True]


def test_reasons_are_named_once_where_they_are_the_same(finished: Finished) -> None:
    cells = [entry for entry in finished.entries if entry.mitigation.name == "wanda"][:2]
    low = [c.model_copy(update={"ranked": False, "reason_not_ranked": "too low"}) for c in cells]
    label = low[0].mitigation.label
    assert f"unranked: {label} x any attack: too low" in show(low)
    low[1] = low[1].model_copy(update={"reason_not_ranked": None, "ranked": True})
    assert f"unranked: {label} x {low[0].attack.label}: too low" in show(low)


def test_a_long_label_keeps_to_80_columns(finished: Finished) -> None:
    long = [
        entry.model_copy(
            update={
                "mitigation": entry.mitigation.model_copy(update={"label": LONG_LABEL}),
                "errors": 2,
                "bypass": True,
            }
        )
        for entry in finished.entries
    ]
    table = table_of(show(long))
    assert max(map(len, table)) <= 80
    # A narrower terminal folds names and cuts no number.
    for width in (20, 60):
        narrow = show(long, width=width).splitlines()
        numbers = [line.split()[-6:-1] for line in table if "(" in line and "/" not in line]
        assert numbers
        assert all(any(n == line.split()[-6:-1] for line in narrow) for n in numbers)
        assert "…" not in "".join(narrow)
    path = f"sscd:path=/{'x' * 90}"
    deep = [
        e.model_copy(update={"attack": e.attack.model_copy(update={"label": path})}) for e in long
    ]
    shown = show(deep)
    assert max(map(len, table_of(shown))) <= 80
    assert shown.count("x") >= 90 * len(deep)
    # No value is cut off, and no parameter is broken in two.
    assert not any("…" in line for line in table)
    for parameter in LONG_LABEL.replace(":", ",").split(","):
        assert any(parameter in line for line in table)


def test_absent_values_are_shown_as_such(finished: Finished) -> None:
    lacking = dict.fromkeys(["memorization_rate", "controls_rate", "oracle_rate", "utility"])
    console = Console(file=io.StringIO(), width=80)
    console.print(results_table([finished.entries[0].model_copy(update=lacking)]))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines()[-1].split()[1:5] == ["-"] * 4


def test_stopped(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", stop)
    with pytest.raises(SystemExit) as exit:
        main(["run"])
    assert exit.value.code == 130
    assert capfd.readouterr().err == "stopped; run the same command again to go on\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """What runs were asked to do; they end at once."""
    seen: list[RunConfig] = []

    def remember(config: RunConfig, *_: object) -> None:
        seen.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", remember)
    return seen


def test_options_win_over_the_run_file(tmp_path: Path, asked: list[RunConfig]) -> None:
    file = tmp_path / "run.yaml"
    content = {"mitigation": ["wanda"], "seeds": 3, "full": True, "budgets": [24, 48]}
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit):
        main(["run", "--config", str(file), "--seeds", "1", "--quick"])
    [config] = asked
    assert config.seeds == 1
    assert not config.full
    assert config.budgets == (24, 48)
    assert [spec.name for spec in config.mitigation] == ["wanda"]


def test_options_reach_the_run(asked: list[RunConfig]) -> None:
    options = {"--batch-size": "3", "--root-seed": "7", "--budgets": "24, 48", "--split": "dev"}
    with pytest.raises(SystemExit):
        main(["run", "--full", *(part for pair in options.items() for part in pair)])
    [config] = asked
    assert (config.batch_size, config.root_seed, config.split) == (3, 7, "dev")
    assert config.budgets == (24, 48)
    assert config.full


def test_version() -> None:
    assert call("--version").startswith("dorib ")


def test_no_built_in_command_can_be_taken_by_a_plugin() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(commands) == set(BUILT_IN_COMMANDS)


def commands_listed(printed: str) -> dict[str, str]:
    """By name, the summaries in the help of `dorib`, cut as it cuts them."""
    lines = printed.partition("Commands:\n")[2].splitlines()
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}


def test_help_lists_the_commands() -> None:
    listed = commands_listed(call("--help"))
    assert [*listed][: len(BUILT_IN_COMMANDS)] == [*BUILT_IN_COMMANDS]
    assert listed["locality"].startswith("Ask whether the triggers of one image")


COMMANDS = """
from typing import Annotated
import typer
from dorib import DoribError

def greet(name: str, loudly: Annotated[bool, typer.Option("--loudly")] = False) -> None:
    'Greet somebody.'
    if not name:
        raise DoribError("name: is empty; give one")
    print("hello", name.upper() if loudly else name)

def unreadable(what: int | str) -> None:
    'Typer has no argument of two types.'
"""
COMMANDS_PLUGIN = """
from dorib import hookimpl

dorib_contract = 2

@hookimpl
def register_commands(register):
    register("greet", "greeting_commands:greet", summary="Say hello.")
    register("lost", "greeting_commands:nowhere", summary="Is not there.")
    register("unreadable", "greeting_commands:unreadable", summary="Is none.")
"""


@pytest.fixture
def greeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin with three commands, of which one works, and a plugin that is not there."""
    (tmp_path / "greeting.py").write_text(COMMANDS_PLUGIN)
    (tmp_path / "greeting_commands.py").write_text(COMMANDS)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("greeting", "greeting_commands"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    points = [EntryPoint(name, name, "dorib") for name in ("greeting", "no_such_plugin")]
    monkeypatch.setattr("dorib.host.registry.entry_points", lambda group: points)


@pytest.mark.usefixtures("greeting")
def test_a_plugin_s_command_is_loaded_when_it_is_run() -> None:
    listed = commands_listed(call("--help"))
    assert [*listed][len(BUILT_IN_COMMANDS) :] == ["greet", "lost", "unreadable"]
    assert listed["greet"] == "Say hello."
    registered = json.loads(call("plugins", "--json"))["registered"]
    assert {
        "kind": "command",
        "name": "greet",
        "plugin": "greeting",
        "summary": "Say hello.",
    } in registered
    assert "greet greeting Say hello." in " ".join(call("plugins", "command").split())
    assert "greeting_commands" not in sys.modules
    assert call("greet", "Ada", "--loudly") == "hello ADA\n"
    described = call("greet", "--help")
    assert "Usage: dorib greet [OPTIONS]" in described
    assert "Greet somebody." in described
    assert call("greet", "-h") == described


@pytest.mark.usefixtures("greeting")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["greet", ""], "name: is empty; give one"),
        (["greet"], "Missing argument"),
        (["greet", "Ada", "--softly"], "No such option: --softly"),
        (["lost"], "plugin greeting: cannot load greeting_commands:nowhere for command 'lost'"),
        (["unreadable"], "plugin greeting: greeting_commands:unreadable makes no command"),
        (["reet"], "No such command 'reet'"),
    ],
)
def test_a_plugin_s_command_fails_as_the_built_in_do(
    arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    printed = capfd.readouterr().err
    assert ended.value.code == BAD_INPUT
    assert printed.startswith(f"dorib: error: {said}")
    assert printed.count("\n") == 1


def test_plugins_as_json() -> None:
    listing = json.loads(call("plugins", "--json"))
    registered = {(one["kind"], one["name"], one["plugin"]) for one in listing["registered"]}
    assert registered >= {
        ("mitigation", "wanda", "wanda"),
        ("mitigation", "none", "reference"),
        ("attack", "dori", "dori"),
        ("metric", "sscd", "sscd"),
        ("suite", "tiny", "suites"),
    }
    assert listing["contract"] == 2
    [reference] = [one for one in listing["plugins"] if one["name"] == "reference"]
    version = reference.pop("version")
    assert version == importlib.metadata.version("dorib")
    hooks = ["mitigations", "attacks"]
    assert reference == {"name": "reference", "contract": 2, "hooks": hooks, "source": "dorib"}
    of_one_kind = json.loads(call("plugins", "suite", "--json"))["registered"]
    assert {one["kind"] for one in of_one_kind} == {"suite"}


def test_a_plugin_is_one_line_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [one["name"] for one in json.loads(call("plugins", "--json"))["plugins"]]
    title, _, *lines, empty, _, _ = call("plugins").split("\n")
    assert title.split() == ["plugin", "version", "contract", "hooks", "from"]
    assert empty.strip() == ""
    assert [line.split()[0] for line in lines] == names
    assert max(map(len, lines)) <= 80


def test_a_plugin_with_a_long_name_keeps_to_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    file = tmp_path / "far_away_from_here_and_there.py"
    file.write_text("dorib_contract = 2\n")
    lines = [one.split() for one in call("plugins", "--plugin", str(file)).split("\n")]
    assert [file.stem, "2", file.name] in lines


def test_a_broken_plugin_is_listed_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin.py").write_text("raise ValueError('[red]out of order[/red]')")
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint("broken", "broken_plugin", "dorib")]
    monkeypatch.setattr("dorib.host.registry.entry_points", lambda group: points)
    [broken] = json.loads(call("plugins", "--json"))["broken"]
    assert broken["plugin"] == "broken"
    # Square brackets are shown, not taken for markup.
    assert "[red]out of order[/red]" in broken["reason"]
    assert "[red]out of order" in " ".join(call("plugins").split())


def test_params() -> None:
    printed = " ".join(call("params", "mitigation", "wanda").split())
    assert "sparsity 0.01 number > 0, < 1 share of each output" in printed
    assert "global or per_sample" in printed
    schema = json.loads(call("params", "attack", "dori", "--json"))
    assert schema["properties"]["start"]["default"] == "prompt"
    assert "has no parameters" in call("params", "attack", "none")


@pytest.fixture
def only_the_tiny_random_suite(tiny_suite_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dorib.host.registry import Registration, Registry

    suite = Registration("suite", "random", "tests", str(tiny_suite_folder))
    lost = Registration("suite", "lost", "tests", str(tiny_suite_folder / "nowhere"))
    found = {("suite", one.name): one for one in (suite, lost)}
    monkeypatch.setattr("dorib.host.registry.discover", lambda files=(): Registry(found))  # type: ignore[arg-type]


@pytest.mark.usefixtures("only_the_tiny_random_suite")
def test_suites() -> None:
    lost, random = json.loads(call("suites", "--json"))
    assert random["splits"] == {
        "dev": {"memorized": 2, "control": 1},
        "test": {"memorized": 4, "control": 3},
    }
    assert random["version"] == "1" and random["error"] is None
    assert "no suite.yaml" in lost["error"]
    printed = call("suites")
    assert "test: 4 + 3" in printed
    assert "not usable" in printed


@pytest.mark.usefixtures("only_the_tiny_random_suite")
def test_a_suite_is_shown_by_name_and_by_folder(tiny_suite_folder: Path) -> None:
    for name in ("random", str(tiny_suite_folder)):
        content = json.loads(call("suites", "show", name, "--samples", "--json"))
        assert content["suite"]["quick"]["budgets"] == [24, 48]
        assert len(content["samples"]) == 10
        assert content["samples"][0]["duplication"] == 1
    printed = call("suites", "show", "random", "--samples")
    assert "duplication" in printed
    assert "test-memorized-3" in printed
    assert "test-memorized-3" not in call("suites", "show", "random")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_left_is_that_of_the_mean_speed_counted_down() -> None:
    clock = Clock()
    pace = Pace(10, clock)
    assert pace.left is None
    clock.now += 30
    pace.advance(2)
    assert pace.left == pytest.approx(120)
    clock.now += 20
    assert pace.left == pytest.approx(100)
    clock.now += 500
    assert pace.left == 0


def test_time_left_is_unknown_without_a_total() -> None:
    clock = Clock()
    pace = Pace(0, clock)
    clock.now += 5
    pace.advance(3)
    assert pace.left is None
    assert pace.elapsed == 5


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.4, "9.4 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (7620, "2 h 07 min")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_lines_come_at_most_every_ten_seconds() -> None:
    clock, printed = Clock(), io.StringIO()
    with (
        Lines(Console(file=printed, width=40), clock) as reporter,
        reporter.verb("attack", "none x dori", 40) as advance,
    ):
        for _ in range(40):
            clock.now += 1
            advance(1)
    lines = printed.getvalue().splitlines()
    assert lines[0] == "attack   none x dori"
    assert lines[1] == "attack   none x dori: 25% after 10 s, 30 s left"
    assert lines[-1] == "attack   none x dori: done in 40 s"
    assert len(lines) == 6


def test_lines_do_without_a_total() -> None:
    clock, printed = Clock(), io.StringIO()
    reporter = Lines(Console(file=printed), clock)
    with reporter.verb("mitigate", "wanda", 0) as advance:
        clock.now += 12
        advance(5)
    reporter.note("[red]mind this[/red]")
    lines = printed.getvalue().splitlines()
    assert lines[1] == "mitigate wanda: still at work after 12 s, 5 items so far"
    assert lines[-1] == "[red]mind this[/red]"


def test_a_verb_that_fails_is_not_said_to_be_done() -> None:
    for reporter, printed in reporters():
        with contextlib.suppress(ValueError), reporter, reporter.verb("attack", "x", 3):
            raise ValueError
        assert "done" not in printed.getvalue()
        assert "attack   x (" not in printed.getvalue()


def reporters() -> Iterator[tuple[Bars | Lines, io.StringIO]]:
    for terminal in (True, False):
        printed = io.StringIO()
        console = Console(file=printed, force_terminal=terminal, width=80)
        reporter = reporter_for(console, Clock())
        assert isinstance(reporter, Bars) == terminal
        yield reporter, printed


def test_bars_show_the_time_left() -> None:
    clock, printed = Clock(), io.StringIO()
    console = Console(file=printed, force_terminal=True, width=80)
    with Bars(console, clock) as bars:
        with bars.verb("attack", "wanda [x] dori", 4) as advance:
            clock.now += 30
            advance(1)
            bars.refresh()
        with bars.verb("mitigate", "wanda", 0) as advance:
            clock.now += 7
            advance(1)
            bars.refresh()
    text = printed.getvalue()
    assert "1 min 30 s left" in text
    assert "1 in 7.0 s" in text
    assert "..." not in text
    assert "attack   wanda [x] dori (30 s)" in text
