"""`dorib audit`: what it finds of pictures in a random model, and in what was made of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser
from safetensors.torch import load_file, save_file

import dorib
from dorib.audit.answer import Answer
from dorib.audit.findings import Finding, Findings, ProbeScore, findings
from dorib.cli.app import main
from dorib.contracts.methods import REPLICATES
from dorib.ranking.records import Record
from fixtures.browser import NARROW, chromium, reading, violations
from fixtures.suites import write_manifest, write_noise, write_rows

THRESHOLD = 0.9999
"""Of the random descriptor, to which all that a random model draws looks much alike."""
SHORT = ["--probe", "one-step", "--seeds", "1", "--budgets", "24"]


@dataclass(frozen=True)
class Ended:
    """What a command left behind and said."""

    code: object
    printed: str
    complaints: str

    def line(self, sample: str) -> str:
        """What it says of one picture."""
        [line] = [x for x in self.printed.splitlines() if x.startswith(f"{sample}: ")]
        return line.removeprefix(f"{sample}: ")


@dataclass(frozen=True)
class Desk:
    """A user's pictures, the model's own drawing of one of them among them."""

    root: Path
    suite: Path
    model: Path

    def options(self, out: str, *more: str, attack: str = "dori") -> list[str]:
        """Those of an audit of the pictures."""
        images, suite = str(self.root / "pictures"), str(self.suite)
        options = ["--images", images, "--suite", suite, "--out", str(self.root / out)]
        return [
            *options,
            "--controls",
            str(self.root / "controls"),
            *SHORT,
            "--attack",
            attack,
            *more,
        ]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    printed = capsys.readouterr()
    return Ended(ended.value.code, printed.out, printed.err)


def write_pictures(folder: Path, names: Sequence[str], first: int) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        write_noise(folder / f"{name}.png", seed=first + number)
    rows = [{"file_name": f"{name}.png", "caption": f"view of {name}"} for name in names]
    write_rows(folder / "metadata.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def desk(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    root = tmp_path_factory.mktemp("audit")
    suite = Path(shutil.copytree(tiny_suite_folder, root / "like"))
    content: dict[str, Any] = yaml.safe_load((suite / "suite.yaml").read_text())
    content["descriptor"]["threshold"] = THRESHOLD
    write_manifest(suite, content)
    write_pictures(root / "pictures", ["drawn", "noise"], 100)
    write_pictures(root / "controls", ["unseen"], 200)
    desk = Desk(root, suite, suite / "pipeline")
    # A random model has learned nothing by heart but what it draws itself.
    with pytest.raises(SystemExit):
        main(["audit", str(desk.model), *desk.options("first", attack="none")])
    [drawing] = (root / "first" / "store").rglob("drawn-*.png")
    shutil.copyfile(drawing, root / "pictures" / "drawn.png")
    return desk


@pytest.fixture(scope="module")
def audited(desk: Desk) -> Path:
    with pytest.raises(SystemExit) as ended:
        main(["audit", str(desk.model), *desk.options("out")])
    assert not ended.value.code
    return desk.root / "out"


def test_a_picture_that_its_caption_gives_away_is_told_from_one_that_is_not_there(
    desk: Desk, audited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = run(capsys, "audit", str(desk.model), *desk.options(audited.name))
    assert not again.code
    assert again.line("drawn") == "given away by its caption (controls 0 of 1)"
    assert again.line("noise") == "not found within budget 24 (controls 0 of 1)"
    assert "2 pictures: 1 given away by their captions, 0 coming back" in again.printed
    assert str(audited / "audit.html") in again.printed
    # Everything was in the store.
    assert "generate" not in again.complaints


def test_the_findings_are_written_as_json_too(audited: Path) -> None:
    found = json.loads((audited / "audit.json").read_text())
    assert [one["sample"] for one in found["pictures"]] == ["drawn", "noise"]
    [control] = found["controls"]
    assert control["word"] == "not found"
    [evidence] = [e for e in found["pictures"][0]["evidence"] if e["attack"] == "none"]
    assert evidence == {"attack": "none", "budget": 0, "controls": 0}
    [score] = found["pictures"][0]["probes"]
    assert score["probe"] == "one-step"
    assert score["controls_below"] in (0, 1)


def test_what_is_missing_and_what_it_does_not_mean_is_said(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    options = desk.options("without", attack="none")
    there = options.index("--controls")
    lonely = desk.root / "lonely"
    if not lonely.exists():
        shutil.copytree(desk.suite, lonely)
        rows = map(json.loads, (lonely / "samples.jsonl").read_text().splitlines())
        write_rows(lonely / "samples.jsonl", [r for r in rows if r["role"] != "control"])
    options[options.index(str(desk.suite))] = str(lonely)
    ended = run(capsys, "audit", str(desk.model), *options[:there], *options[there + 2 :])
    assert ended.line("drawn") == "given away by its caption (no controls)"
    assert "missing: controls" in ended.printed
    assert "missing: an original" in ended.printed
    assert "no proof that it is gone" in ended.printed


def test_controls_are_drawn_from_the_suite_where_none_are_given(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    options = desk.options("drawn", attack="none")
    there = options.index("--controls")
    ended = run(capsys, "audit", str(desk.model), *options[:there], *options[there + 2 :])
    # As many as the suite's quick profile takes.
    assert ended.line("noise") == "not found within budget 0 (controls 0 of 2)"
    assert f"2, drawn from those of suite {desk.suite}" in ended.printed


def test_a_model_of_the_hub_is_audited_by_its_id(desk: Desk) -> None:
    home, commit = desk.root / "home", "1" * 40
    cached = home / "hub" / "models--own--model"
    shutil.copytree(desk.model, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    command = [sys.executable, "-m", "dorib", "audit", "own/model"]
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    options = desk.options("hub", attack="none")
    done = subprocess.run(
        [*command, *options], check=True, capture_output=True, text=True, env=environment
    )
    assert "drawn: given away by its caption (controls 0 of 1)" in done.stdout
    assert json.loads((desk.root / "hub" / "audit.json").read_text())["model"] == "own/model"


def test_a_mitigated_checkpoint_is_held_against_its_original(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    mitigated = Path(shutil.copytree(desk.model / "unet", desk.root / "mitigated-unet"))
    [weights] = mitigated.glob("*.safetensors")
    tensors = load_file(weights)
    # What is drawn by noise turned round is another picture.
    tensors["conv_out.weight"] *= -30
    save_file(tensors, weights, {"format": "pt"})
    options = desk.options("mitigated", "--original", str(desk.model))
    ended = run(capsys, "audit", str(mitigated), *options)
    assert not ended.code, ended.complaints
    assert ended.line("drawn") == (
        "not found within budget 24 (controls 0 of 1); in the original given away by its caption"
    )
    assert ended.line("noise").endswith("in the original not found")
    assert "missing: an original" not in ended.printed


def test_a_folder_holds_the_findings_of_one_set_of_pictures(
    desk: Desk, audited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (audited / "audit.json").read_bytes()
    options = desk.options(audited.name, "--captions", str(desk.root / "others.jsonl"))
    rows = [{"file_name": f"{name}.png", "caption": "else"} for name in ("drawn", "noise")]
    write_rows(desk.root / "others.jsonl", rows)
    ended = run(capsys, "audit", str(desk.model), *options)
    assert ended.code == 2
    assert "holds findings of other pictures" in ended.complaints
    assert (audited / "audit.json").read_bytes() == before


def _with(records: Sequence[Record], values: dict[str, float | None]) -> list[Record]:
    """What dori's images are judged to be replaced, by sample; None for an error."""
    changed = []
    for record in records:
        if record.attack == "dori" and record.metric == REPLICATES and record.sample in values:
            value = values[record.sample]
            error = "out of memory" if value is None else None
            record = record.model_copy(update={"value": value, "error": error})
        changed.append(record)
    return changed


def _found(audited: Path, **values: float | None) -> Findings:
    results = dorib.open(audited)
    return findings("none", results.entries, _with([*results.records()], values))


def test_an_attack_s_copy_is_told_with_the_controls_that_come_back_as_well(audited: Path) -> None:
    noise = _found(audited, noise=1.0).pictures[1]
    assert noise.word == "comes back under attack"
    [evidence] = noise.evidence
    assert (evidence.attack, evidence.budget, evidence.controls) == ("dori", 24, 0)
    [evidence] = _found(audited, noise=1.0, unseen=1.0).pictures[1].evidence
    assert evidence.controls == 1


def test_what_could_not_be_judged_is_not_called_gone(audited: Path) -> None:
    noise = _found(audited, noise=None).pictures[1]
    assert (noise.word, noise.problem) == ("not judged", "out of memory")
    # What its caption gave away is found all the same.
    drawn = _found(audited, drawn=None).pictures[0]
    assert (drawn.word, drawn.problem) == ("given away by its caption", "out of memory")


def test_the_page_shows_each_picture_and_asks_no_other_host(audited: Path) -> None:
    page = (audited / "audit.html").read_text()
    assert page.count('id="drawn"') == page.count('id="noise"') == page.count('id="unseen"') == 1
    with chromium() as browser:
        _look(browser, audited / "audit.html")


def _look(browser: Browser, page: Path) -> None:
    with reading(browser) as reader:
        reader.open(page)
        assert not reader.complaints
        assert not [address for address in reader.asked if not address.startswith("file:")]
        assert reader.page.locator("tbody tr").count() == 2
    assert violations(browser, page, NARROW, "light") == []


def test_a_picture_that_is_not_found_and_that_probes_tell_from_all_controls_is_pointed_at() -> None:
    def findings_of(controls: int) -> Findings:
        def finding(sample: str, below: int) -> Finding:
            probes = (ProbeScore("clid", 0.5, below), ProbeScore("one-step", 0.5, below - 1))
            return Finding(sample, "not found", (), None, probes)

        unseen = tuple(finding(f"control-{n}", 1) for n in range(controls))
        return Findings("none", 240, (finding("hidden", controls),), unseen)

    def answer(controls: int) -> Answer:
        found = findings_of(controls)
        facts: dict[str, Any] = {"judge": "sscd", "k": 2, "attacks": ("none",), "failed": ()}
        return Answer("x", None, found, None, controls_from="given", **facts)

    assert answer(4).lines == [
        "hidden: not found within budget 240 (controls 0 of 4, but clid put it above all of them)"
    ]
    assert any("one picture in 5" in line for line in answer(4).meaning)
    assert answer(3).lines == ["hidden: not found within budget 240 (controls 0 of 3)"]
    assert not any("above all" in line for line in answer(3).meaning)
