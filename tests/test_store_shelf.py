"""One shelf of the store: batches, what is damaged, rivals, scratch folders and left-overs."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dorib.errors import DoribError
from dorib.store.batches import planned_batches
from dorib.store.fingerprint import folder_digest
from dorib.store.store import FORMATS, Shelf, Store
from fixtures.damage import DAMAGES
from fixtures.small_runs import left_over, make_older

KEY = {"of": "everything"}
HOUR = 3600


def shelf_of(root: Path, notes: list[str] | None = None, key: dict[str, str] = KEY) -> Shelf:
    return Store(root, [].append if notes is None else notes.append).shelf("triggers", key)


def write(shelf: Shelf, *items: str, text: str = "content of") -> Path:
    """A batch with a folder and a file for each item."""
    with shelf.batch(items) as folder:
        fill(folder, *items, text=text)
    return shelf[items[0]]


def fill(folder: Path, *items: str, text: str = "content of") -> None:
    for item in items:
        (folder / item / "inner").mkdir(parents=True)
        (folder / item / "trigger.json").write_text(f"{text} {item}")
        (folder / item / "inner" / "more.bin").write_bytes(f"more of {item}".encode())
        (folder / f"{item}.png").write_bytes(f"picture of {item}".encode())


def test_an_index_holds_size_and_sha256_of_every_file(tmp_path: Path) -> None:
    folder = write(shelf_of(tmp_path), "a", "b")
    index = json.loads((folder / "index.json").read_text())
    assert index["items"] == ["a", "b"]
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path.name != "index.json"
    }
    assert set(index["files"]) == set(files)
    for name, path in files.items():
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        assert index["files"][name] == {"sha256": sha256, "size": path.stat().st_size}


def test_what_was_written_is_found_again(tmp_path: Path) -> None:
    first = shelf_of(tmp_path)
    folder = write(first, "a", "b")
    again = shelf_of(tmp_path)
    for shelf in (first, again):
        assert "a" in shelf and "b" in shelf and "c" not in shelf
        assert shelf["b"] == folder
        assert shelf.missing(["c", "a", "d"]) == ["c", "d"]
        assert shelf.digest("b") == folder_digest(folder / "b")
        assert set(shelf.files("b")) == {"b/trigger.json", "b/inner/more.bin", "b.png"}
    assert "a" not in shelf_of(tmp_path, key={"of": "something else"})


def test_who_reads_leaves_a_damaged_batch_alone(tmp_path: Path) -> None:
    folder = write(shelf_of(tmp_path), "a", "b")
    DAMAGES["truncated"](folder / "a/trigger.json", folder)
    notes: list[str] = []
    [(_, read)] = Store(tmp_path, notes.append).shelves("triggers")
    assert "a" not in read and folder.exists()
    [note] = notes
    assert note.endswith("; left alone, the next run computes anew what it held")


@pytest.mark.parametrize("name", ["a/trigger.json", "a/inner/more.bin", "b.png", "index.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_batch_is_removed_and_said(tmp_path: Path, name: str, damage: str) -> None:
    shelf = shelf_of(tmp_path)
    folder, other = write(shelf, "a", "b"), write(shelf, "c", text="another content of")
    counterpart = name.replace("a", "c", 1) if name.startswith("a") else name.replace("b.", "c.")
    DAMAGES[damage](folder / name, other / counterpart)
    notes: list[str] = []
    again = shelf_of(tmp_path, notes)
    assert "a" not in again and "b" not in again
    assert ("c" in again) == (damage != "swapped")
    assert not folder.exists()
    assert notes[0].startswith(f"{folder}: ")
    assert notes[0].endswith("; removed, what it held is computed anew")
    assert len(notes) == (2 if damage == "swapped" else 1)
    write(again, "a", "b")
    assert "b" in shelf_of(tmp_path)


def replace_by_a_file(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("no folder")


def take_its_name(folder: Path) -> None:
    folder.rename(folder.with_name("batch-0123456789abcdef"))


def add_a_file(folder: Path) -> None:
    (folder / "halved.json").write_text('{"planned": 2, "smallest": 1}')


def lose_a_folder(folder: Path) -> None:
    (folder / "a").rename(folder.parent / "elsewhere")


def lose_all(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()


def break_a_link(folder: Path) -> None:
    (folder / "a.png").unlink()
    (folder / "a.png").symlink_to("nowhere")


def lead_elsewhere(name: str) -> Callable[[Path], None]:
    """The very content, but at the end of a link: it may change unnoticed."""

    def damage(folder: Path) -> None:
        outside = folder.parent.parent / Path(name).name
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    return damage


def rewrite_consistently(folder: Path, **changes: object) -> None:
    index = json.loads((folder / "index.json").read_text()) | changes
    (folder / "index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


def claim_other_items(folder: Path) -> None:
    rewrite_consistently(folder, items=["b", "a"])


def claim_no_items(folder: Path) -> None:
    rewrite_consistently(folder, items=[])


def claim_another_key(folder: Path) -> None:
    rewrite_consistently(folder, key="0" * 64)


def claim_another_format(folder: Path) -> None:
    rewrite_consistently(folder, format=2)


def claim_no_files(folder: Path) -> None:
    rewrite_consistently(folder, files={})


@pytest.mark.parametrize(
    "damage",
    [
        replace_by_a_file,
        take_its_name,
        add_a_file,
        lose_a_folder,
        lose_all,
        break_a_link,
        lead_elsewhere("index.json"),
        lead_elsewhere("a.png"),
        claim_other_items,
        claim_no_items,
        claim_another_key,
        claim_another_format,
        claim_no_files,
    ],
)
def test_a_batch_that_is_not_what_was_written_is_not_served(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(write(shelf_of(tmp_path), "a", "b"))
    notes: list[str] = []
    again = shelf_of(tmp_path, notes)
    assert again.missing(["a", "b"]) == ["a", "b"]
    assert len(notes) == 1
    assert list(again.folder.glob("batch-*")) == []


def test_a_batch_of_another_key_is_not_served(tmp_path: Path) -> None:
    folder = write(shelf_of(tmp_path, key={"of": "something else"}), "a")
    shelf = shelf_of(tmp_path)
    folder.rename(shelf.folder / folder.name)
    assert "a" not in shelf_of(tmp_path)


def test_a_batch_of_another_kind_is_not_served(tmp_path: Path) -> None:
    folder = write(shelf_of(tmp_path), "a")
    images = Store(tmp_path, [].append).shelf("images", KEY)
    folder.rename(images.folder / folder.name)
    assert "a" not in Store(tmp_path, [].append).shelf("images", KEY)


def test_what_was_laid_out_otherwise_is_computed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(shelf_of(tmp_path), "a")
    monkeypatch.setitem(FORMATS, "triggers", FORMATS["triggers"] + 1)
    assert "a" not in shelf_of(tmp_path)
    monkeypatch.undo()
    assert "a" in shelf_of(tmp_path)


def test_of_two_batches_with_an_item_the_undamaged_one_serves(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    folders = [write(shelf, "a", "b"), write(shelf, "b", "c")]
    with shelf.batch(["a", "b", "c"]) as folder:
        fill(folder, "a", "b", "c")
    (folders[0] / "b.png").write_bytes(b"damaged")
    assert shelf_of(tmp_path).missing(["a", "b", "c"]) == []


def test_a_file_that_changes_after_it_was_checked_is_not_served(tmp_path: Path) -> None:
    folder = write(shelf_of(tmp_path), "a", "b")
    shelf = shelf_of(tmp_path)
    (folder / "a.png").write_bytes(b"CHANGED of a")
    assert shelf["b"] == folder
    for read in (shelf.__getitem__, shelf.files, shelf.digest):
        with pytest.raises(DoribError, match=r"a\.png: changed after .*; run again"):
            read("a")
    # The advice, followed to the letter, mends.
    again = shelf_of(tmp_path)
    assert "a" not in again
    write(again, "a", "b")
    assert shelf_of(tmp_path)["a"] == folder


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_key_is_written_anew(tmp_path: Path, damage: str) -> None:
    shelf = shelf_of(tmp_path)
    write(shelf, "a")
    path = shelf.folder / "key.json"
    before = path.read_bytes()
    other = shelf_of(tmp_path, key={"of": "something else"}).folder / "key.json"
    DAMAGES[damage](path, other)
    notes: list[str] = []
    assert "a" in shelf_of(tmp_path, notes)
    assert path.read_bytes() == before
    assert not path.is_symlink()
    assert notes == ([] if damage == "deleted" else [f"{path}: damaged; written anew"])


def test_a_rival_with_the_same_items_is_accepted(tmp_path: Path) -> None:
    ours = shelf_of(tmp_path)
    with ours.batch(["a"]) as folder:
        fill(folder, "a", text="ours")
        rival = write(shelf_of(tmp_path), "a", text="theirs")
    assert ours["a"] == rival
    assert (rival / "a" / "trigger.json").read_text() == "theirs a"
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    "damage", ["empty", "an empty list", "null", "deleted", "bit flipped in the middle"]
)
@pytest.mark.parametrize("name", ["index.json", "a.png"])
def test_a_rival_that_is_damaged_is_replaced(tmp_path: Path, damage: str, name: str) -> None:
    notes: list[str] = []
    ours = shelf_of(tmp_path, notes)
    with ours.batch(["a"]) as folder:
        fill(folder, "a", text="ours")
        rival = write(shelf_of(tmp_path), "a", text="theirs")
        DAMAGES[damage](rival / name, rival / name)
    assert (ours["a"] / "a" / "trigger.json").read_text() == "ours a"
    assert len(notes) == 1
    assert "a" in shelf_of(tmp_path)
    assert left_over(tmp_path) == []


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    with pytest.raises(ZeroDivisionError), shelf.batch(["a"]) as folder:
        fill(folder, "a")
        raise ZeroDivisionError
    assert "a" not in shelf
    assert [path.name for path in shelf.folder.iterdir()] == ["key.json"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    with (
        pytest.raises(DoribError, match=r"cannot be written .No space left.*choose another --out"),
        shelf.batch(["a"]),
    ):
        raise OSError(28, "No space left on device")
    assert [path.name for path in shelf.folder.iterdir()] == ["key.json"]


def test_files_are_on_the_disk_before_the_batch_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def flushing(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def renaming(self: Path, target: Path) -> Path:
        done.append(f"rename to {target.name}")
        return rename(self, target)

    shelf = shelf_of(tmp_path)
    monkeypatch.setattr(os, "fsync", flushing)
    monkeypatch.setattr(Path, "rename", renaming)
    place = write(shelf, "a")
    moved = done.index(f"rename to {place.name}")
    before = {"trigger.json", "more.bin", "a.png", "index.json", "a", "inner"}
    assert before <= set(done[:moved])
    assert any(name.startswith(".writing-") for name in done[:moved])
    assert done[moved + 1 :] == [shelf.folder.name]


def test_two_fits_at_once_have_a_scratch_folder_each(tmp_path: Path) -> None:
    shelf, rival = shelf_of(tmp_path), shelf_of(tmp_path)
    with shelf.scratch(["a"]) as ours:
        ours.mkdir()
        (ours / "checkpoint").write_text("ours")
        with rival.scratch(["a"]) as theirs:
            assert theirs != ours
            assert not theirs.exists()
            theirs.mkdir()
        assert not theirs.exists()
        assert (ours / "checkpoint").read_text() == "ours"
    assert left_over(tmp_path) == []


def test_what_a_fit_cut_short_left_is_handed_to_the_next_of_the_same_items(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), shelf_of(tmp_path).scratch(["a"]) as scratch:
        scratch.mkdir()
        (scratch / "checkpoint").write_text("half")
        raise ZeroDivisionError
    with shelf_of(tmp_path).scratch(["b"]) as other:
        assert not other.exists()
    with shelf_of(tmp_path).scratch(["a"]) as scratch:
        assert (scratch / "checkpoint").read_text() == "half"
    assert left_over(tmp_path) == []


def test_a_scratch_folder_is_swept_once_its_items_are_stored(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    with pytest.raises(ZeroDivisionError), shelf.scratch(["a"]) as scratch:
        scratch.mkdir()
        raise ZeroDivisionError
    make_older(tmp_path, 2 * HOUR)
    shelf_of(tmp_path)
    assert scratch.exists()
    write(shelf, "a")
    shelf_of(tmp_path)
    assert not scratch.exists()
    assert left_over(tmp_path) == []


def test_a_scratch_folder_that_nobody_comes_back_for_is_swept(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), shelf_of(tmp_path).scratch(["a"]) as scratch:
        scratch.mkdir()
        raise ZeroDivisionError
    make_older(tmp_path, 31 * 24 * HOUR)
    shelf_of(tmp_path)
    assert left_over(tmp_path) == []


def test_a_scratch_folder_that_is_worked_in_is_not_swept(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    write(shelf, "a")
    with shelf.scratch(["a"]) as scratch:
        scratch.mkdir()
        make_older(tmp_path, 31 * 24 * HOUR)
        shelf_of(tmp_path)
        assert scratch.exists()
    assert not scratch.exists()


@pytest.mark.parametrize("hours", [-2, 0.9, 1.1])
def test_unfinished_batches_are_swept_by_age(tmp_path: Path, hours: float) -> None:
    unfinished = shelf_of(tmp_path).folder / ".writing-0123456789abcdef"
    unfinished.mkdir()
    (unfinished / "half.png").write_bytes(b"half")
    make_older(tmp_path, hours * HOUR)
    shelf_of(tmp_path, key={"of": "something else"})
    assert unfinished.exists() == (hours == 0.9)


def test_age_is_that_of_what_was_written_last(tmp_path: Path) -> None:
    unfinished = shelf_of(tmp_path).folder / ".writing-0123456789abcdef"
    unfinished.mkdir()
    (unfinished / "half.png").write_bytes(b"half")
    make_older(tmp_path, 2 * HOUR)
    os.utime(unfinished / "half.png")
    shelf_of(tmp_path)
    assert unfinished.exists()


def test_age_is_told_by_the_clock_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = shelf_of(tmp_path).folder / ".writing-0123456789abcdef"
    unfinished.mkdir()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10 * HOUR)
    shelf_of(tmp_path)
    assert unfinished.exists()
    make_older(tmp_path, 2 * HOUR)
    monkeypatch.setattr(time, "time", lambda: now - 10 * HOUR)
    shelf_of(tmp_path)
    assert not unfinished.exists()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_batches_are_cut_from_the_whole_list(size: int) -> None:
    items = list(range(7))
    whole = [items[start : start + size] for start in range(0, 7, size)]
    for missing in ({0, 1, 2, 3, 4, 5, 6}, {6}, {1, 2, 5}, set()):
        cut = planned_batches(items, size, missing.__contains__)
        assert [item for batch in cut for item in batch] == sorted(missing)
        assert all(any(set(batch) <= set(one) for one in whole) for batch in cut)
