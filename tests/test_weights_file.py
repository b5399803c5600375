"""Weights files: read whole, and opened only where they are the pinned ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dorib import DoribError, WeightsFile, one_line

CPU = torch.device("cpu")


class Halve(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images / 2 if self.training else images / 4


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "halve.pt"
    torch.jit.script(Halve()).save(str(path))
    return path


def weights(path: Path, sha256: str | None) -> WeightsFile:
    return WeightsFile(path, sha256, "metric own", if_missing="give one", if_another="fetch it")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_pinned_file_is_opened_in_evaluation_mode(script: Path) -> None:
    module, found = weights(script, sha256(script)).torchscript(CPU)
    assert found == sha256(script)
    assert module(torch.ones(1)).item() == 0.25


def test_what_is_read_is_what_was_hashed(script: Path) -> None:
    content, found = weights(script, None).read()
    assert hashlib.sha256(content).hexdigest() == found == sha256(script)


def test_another_file_is_never_opened(monkeypatch: pytest.MonkeyPatch, script: Path) -> None:
    opened: list[object] = []
    monkeypatch.setattr(torch.jit, "load", lambda *given, **_: opened.append(given))
    another = weights(script, "0" * 64)
    message = rf"^metric own: {script} has sha256 {sha256(script)}, not 0+, and was not opened; "
    for read in (another.read, lambda: another.torchscript(CPU)):
        with pytest.raises(DoribError, match=f"{message}fetch it$"):
            read()
    with pytest.raises(ValueError, match="by a pinned sha256 only"):
        weights(script, None).torchscript(CPU)
    assert not opened


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "no.pt"
    message = rf"^metric own: {path} cannot be read \(No such file or directory\); give one$"
    with pytest.raises(DoribError, match=message):
        weights(path, None).read()


def test_a_pinned_file_that_is_no_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.pt"
    path.write_text("no network")
    with pytest.raises(DoribError, match="cannot be loaded as TorchScript") as caught:
        weights(path, sha256(path)).torchscript(CPU)
    assert "\n" not in str(caught.value)


@given(st.text())
def test_an_error_is_told_in_one_short_line(text: str) -> None:
    line = one_line(ValueError(text))
    assert len(line) <= 300
    assert len(line.splitlines()) <= 1
    assert line.isprintable() or not text.isascii()
    if text.isascii() and text.isprintable() and len(text) <= 300:
        assert line.split() == text.split()
