"""What `dorib audit` refuses, each in one line and before any work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dorib.cli.app import main
from fixtures.suites import write_noise, write_rows

Spoil = Callable[[Path], object]


def rows(*names: str) -> list[dict[str, str]]:
    return [{"file_name": name, "caption": f"view of {name}"} for name in names]


def resized(width: int, height: int) -> Spoil:
    return lambda folder: Image.new("RGB", (width, height)).save(folder / "one.png")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, name in enumerate(("one.png", "two.png")):
        write_noise(folder / name, seed=number)
    write_rows(folder / "metadata.jsonl", rows("one.png", "two.png"))
    return folder


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line that a refused audit ends with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["audit", *arguments])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert not printed.out
    [line] = printed.err.splitlines()
    return line


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda f: (f / "metadata.jsonl").unlink(), "metadata.jsonl: missing"),
        (lambda f: (f / "one.png").unlink(), "row 1: no picture 'one.png'"),
        (lambda f: write_rows(f / "metadata.jsonl", rows("two.png")), "one.png: has no caption"),
        (
            lambda f: write_rows(f / "metadata.jsonl", [{"file_name": "one.png"}]),
            "row 1: no caption",
        ),
        (
            lambda f: write_rows(f / "metadata.jsonl", [{"caption": "one"}]),
            "row 1: names 0 pictures",
        ),
        (
            lambda f: write_rows(f / "metadata.jsonl", rows("one.png", "two.png", "one.png")),
            "row 3: 'one.png' has a caption already",
        ),
        (
            lambda f: (
                shutil.copyfile(f / "one.png", f / "ONE.PNG"),
                write_rows(f / "metadata.jsonl", rows("one.png", "two.png", "ONE.PNG")),
            ),
            "would be called ONE as one.png is",
        ),
        (lambda f: (f / "one.png").write_bytes(b"GIF89a"), "one.png: not a readable picture"),
        (
            lambda f: ((f / "one.png").unlink(), (f / "one.png").mkdir()),
            "one.png: no regular file",
        ),
        (resized(32, 16), "16 x 32 pixels (height x width), and the model draws 32 x 32"),
        (resized(128, 32), "more than half would be cut off"),
        (lambda f: [path.unlink() for path in f.glob("*.png")], "no picture in it"),
        (lambda f: shutil.rmtree(f), "no such folder"),
    ],
)
def test_broken_pictures_and_captions(
    pictures: Path,
    tiny_suite_folder: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Spoil,
    reason: str,
) -> None:
    spoil(pictures)
    model, suite = str(tiny_suite_folder / "pipeline"), str(tiny_suite_folder)
    out = str(pictures.parent / "out")
    line = refusal(capsys, model, "--images", str(pictures), "--suite", suite, "--out", out)
    assert reason in line


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ("no such", [], "no folder, no registered suite and no hub id"),
        ("{suite}/oracle", [], "a U-Net, a LoRA or a single file needs --original"),
        ("{suite}/oracle", ["--original", "{suite}/oracle"], "give the diffusers folder"),
        ("{suite}/none", ["--original", "{suite}/pipeline"], "no such file or folder"),
        ("{suite}/pipeline", [], "no judge of what a copy is"),
        ("{suite}/pipeline", ["--metric", "clip"], "clip: says nothing of copies"),
        ("{suite}/pipeline", ["--suite", "{suite}", "--size", "wide"], "'size'"),
        ("{suite}/pipeline", ["--suite", "{suite}", "--size", "64"], "the model draws 64 x 64"),
        ("{suite}/pipeline", ["--suite", "{suite}", "--size", "33"], "33"),
        ("{suite}/pipeline", ["--suite", "{suite}", "--steps", "0"], "'steps'"),
        ("{suite}/pipeline", ["--suite", "{suite}", "--steps", "20000"], "command line: 'steps'"),
        ("{suite}/pipeline", ["--suite", "{suite}", "--probe", "no-such"], "no-such"),
        ("{suite}/pipeline", ["--suite", "no-such"], "no-such"),
        ("owner/model", ["--metric", "sscd:backend=onnx,path=x"], "x"),
        ("{suite}/pipeline", ["--suite", "{suite}", "--device", "abacus"], "--device abacus"),
        ("{suite}/pipeline", ["--suite", "{suite}", "-a", "no-such"], "no-such"),
        ("{suite}/pipeline", ["--suite", "{suite}", "--controls", "{pictures}"], "is the audited"),
    ],
)
def test_models_judges_and_options_that_are_none(
    pictures: Path,
    tiny_suite_folder: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    options: list[str],
    reason: str,
) -> None:
    def filled(text: str) -> str:
        return text.format(suite=tiny_suite_folder, pictures=pictures)

    given = ["--images", str(pictures), "--out", str(pictures.parent / "out")]
    assert reason in refusal(capsys, filled(model), *given, *map(filled, options))
    assert not list(pictures.parent.glob("out/audit-suite"))


def test_what_was_refused_can_be_mended_in_the_same_folder(
    pictures: Path, tiny_suite_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, suite = str(tiny_suite_folder / "pipeline"), str(tiny_suite_folder)
    out = str(pictures.parent / "out")
    given = [model, "--images", str(pictures), "--suite", suite, "--out", out, "-a", "no-such"]
    assert "no-such" in refusal(capsys, *given)
    write_rows(pictures / "metadata.jsonl", rows("two.png", "one.png"))
    assert "no-such" in refusal(capsys, *given)


def test_the_pictures_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--images" in refusal(capsys, "tiny")
