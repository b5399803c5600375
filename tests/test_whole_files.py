"""Files that are there as a whole or not at all, and that are written when they must be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dorib.store.files import whole_file, write_text


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is flushed, as it comes."""
    names: list[str] = []
    fsync = os.fsync

    def flushing(descriptor: int) -> None:
        names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flushing)
    return names


def test_the_same_content_is_left_alone(tmp_path: Path, flushed: list[str]) -> None:
    path = tmp_path / "entry.json"
    write_text(path, "same")
    before = path.stat()
    assert len(flushed) == 1
    write_text(path, "same")
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(flushed) == 1
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("content", ["", "some", "same length", "SAME"])
def test_another_content_is_replaced(tmp_path: Path, flushed: list[str], content: str) -> None:
    path = tmp_path / "entry.json"
    path.write_text(content)
    write_text(path, "same")
    assert path.read_text() == "same"
    assert len(flushed) == 1


def test_a_link_to_the_same_content_is_replaced(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "entry.json", tmp_path / "elsewhere"
    elsewhere.write_text("same")
    path.symlink_to(elsewhere)
    write_text(path, "same")
    assert not path.is_symlink() and path.read_text() == "same"


def test_a_link_that_leads_nowhere_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "entry.json"
    path.symlink_to(tmp_path / "nowhere")
    write_text(path, "same")
    assert not path.is_symlink() and path.read_text() == "same"


def test_what_the_next_run_writes_anew_is_moved_and_not_flushed(
    tmp_path: Path, flushed: list[str]
) -> None:
    path = tmp_path / "strip.png"
    path.write_bytes(b"old")
    with whole_file(path, durable=False) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert flushed == []
