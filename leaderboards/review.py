"""Review submissions as continuous integration does: verify, rank anew, print the neighbours.

    python leaderboards/review.py leaderboards/submissions/NAME
    python leaderboards/review.py FOLDER --board leaderboards/tiny --by NAME --mark
    python leaderboards/review.py FOLDER --by NAME --merge

The last puts the rows onto the board, ranked anew and marked, and makes its pages anew.
Ends with 1 where a claim did not come out, and with 2 where a submission cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.ranking.leaderboard import LEADERBOARD_FILE, Leaderboard
from dorib.reading import Malformed, read_text
from dorib.replay.merging import merge
from dorib.replay.reviewing import as_markdown, review
from dorib.report.site.marks import write_marks
from dorib.report.site.pages import PAGE, write_site
from dorib.reporting import Silent

BOARDS = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Review each submission that is named; the process's arguments where none are given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("submission", type=Path, nargs="+", help="what `dorib submit` wrote")
    parser.add_argument("--board", type=Path, help="default: that of the submission's suite, here")
    parser.add_argument("--suite", help="a suite folder, where the suite is not registered")
    parser.add_argument("--large", type=Path, help="a folder with witnesses too large for git")
    parser.add_argument("--by", default="", help="who verifies")
    parser.add_argument("--mark", action="store_true", help="write the marks into the board")
    parser.add_argument("--merge", action="store_true", help="put the rows onto the board")
    asked = parser.parse_args(arguments)
    if asked.merge and not asked.by:
        parser.error("--merge: takes --by, the name of whoever has verified the rows")
    failed = False
    for submission in asked.submission:
        try:
            board = asked.board or BOARDS / _suite_of(submission)
            found = (merge if asked.merge else review)(
                submission,
                board,
                discover(),
                Silent(),
                by=asked.by,
                suite=asked.suite,
                large=asked.large,
            )
            if asked.merge:
                write_site(board.parent if (board.parent / PAGE).is_file() else board)
            elif asked.mark:
                write_marks(board, {label: found.marks[label] for label in found.taken})
        except DoribError as error:
            print(f"{submission}: {error}", file=sys.stderr)
            return 2
        print(f"## {submission.name}\n\n{as_markdown(found)}")
        failed = failed or found.failed
    return int(failed)


def _suite_of(submission: Path) -> str:
    """The folder of the suite's board: a name alone, since it is read from outside."""
    path = submission / LEADERBOARD_FILE
    try:
        name = Leaderboard.model_validate_json(read_text(path)).suite.name
    except (Malformed, FileNotFoundError, ValueError) as error:
        raise DoribError(f"no readable {LEADERBOARD_FILE} in it") from error
    if not name.replace("-", "").isalnum():
        raise DoribError(f"suite {name!r} has no board here; name one by --board")
    return name


if __name__ == "__main__":
    sys.exit(main())
