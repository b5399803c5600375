"""A run's board as it is published: entries, witnesses, and pictures with their credits."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.ranking.leaderboard import write_leaderboard
from dorib.report.export.export import EXPORTS
from dorib.report.export.galleries import copy_gallery, publishable, withheld
from dorib.report.export.suites import suite_of
from dorib.report.opened import open_results
from dorib.report.site.history import HISTORY_FILE
from dorib.report.site.marks import MARKS_FILE
from dorib.report.site.pictures import read_pictures
from dorib.report.witnesses.places import WITNESSES
from dorib.report.witnesses.writing import write_witnesses
from dorib.store.files import named_write_errors, whole_folder
from dorib.store.store import Note
from dorib.suites.attribution import attributions

BOARD = "board"
"""Folder in a run's exports, unless another place is named."""


def export_board(
    out: Path, note: Note, *, to: Path | None = None, suite: str | None = None
) -> Path:
    """Write what others are to see of a run into a folder that is not there yet.

    Args:
        out: the folder of a run, or of a board that is published already.
        note: hears of witnesses that are too large, and of pictures that may not be published.
        to: the folder (None: one in `out`).
        suite: a name or a folder, where the suite is not registered by the name it has.

    Raises:
        DoribError: there is no board or it is damaged, its suite is another one, or the folder is
            there already or cannot be written.
    """
    to = to or out / EXPORTS / BOARD
    if os.path.lexists(to):
        raise DoribError(f"{to}: is there already; name another folder by --to, or remove it")
    results = open_results(out)
    pictures = read_pictures(out, results.entries)
    found = suite_of(results, suite, discover())
    whose = attributions(found) if found else {}
    board = results.leaderboard
    with named_write_errors(to, "--to"), whole_folder(to) as folder:
        write_leaderboard(folder, results.entries, board.required_attacks, board.unfinished)
        if (out / "store").is_dir():
            write_witnesses(out, note, to=folder)
        elif (out / WITNESSES).is_dir():
            shutil.copytree(out / WITNESSES, folder / WITNESSES)
        for name in (MARKS_FILE, HISTORY_FILE):
            if (out / name).is_file():
                shutil.copyfile(out / name, folder / name)
        if pictures is not None:
            gallery = publishable(pictures.gallery, whose)
            copy_gallery(out, gallery, folder)
            for sample, reason in withheld(gallery).items():
                note(f"{sample}: its pictures are left out; {reason}")
    return to
