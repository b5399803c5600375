"""The card of a board as a data set: what it holds, its licence, and how it is cited."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import yaml

from dorib.printable import printable
from dorib.report.export.readme import as_code
from dorib.report.opened import Results
from dorib.report.site.downloads import citation
from dorib.suites.manifest import Manifest

_TABLES = {
    "pictures": "a line for each sample in each mitigation and attack: the original, and of the "
    "images that came out the one nearest to it, as WebP of at most 160 pixels. `likeness` is its "
    "cosine with the original by the suite's descriptor, `replicates` whether that reaches the "
    "threshold, `number` which of the k images it is, `broken_at` the smallest budget at which one "
    "of them replicates (null: none).",
    "records": "every measured value, or the error that came in its place.",
    "leaderboard": "a line for each mitigation and attack: rates with exact 95 % intervals, "
    "erasure gap, utility, verdict.",
}
"""By configuration, in the order of the card; the first that is there is the default."""


def dataset_card(
    results: Results,
    names: Collection[str],
    manifest: Manifest | None,
    left_out: Mapping[str, str],
) -> str:
    """`README.md` with the front matter that `datasets` reads.

    Args:
        results: the board.
        names: those of the Parquet files in the folder, without their ending.
        manifest: that of the board's suite, where it is at hand.
        left_out: why the pictures of samples are not there, by the samples' ids.
    """
    board, first = results.leaderboard, results.entries[0]
    there = [name for name in _TABLES if name in names]
    title = f"dorib: {board.suite.name} {board.suite.version}, split {board.split}"
    front = {
        "pretty_name": title,
        "license": "other",
        "license_name": "mit-numbers-and-pictures-of-the-suite",
        "license_link": "README.md",
        "tags": ["text-to-image", "memorization", "unlearning", "benchmark"],
        "configs": [
            {"config_name": name, "data_files": f"{name}.parquet", "default": name == there[0]}
            for name in there
        ],
    }
    pictured = _of_pictures(manifest, left_out) if "pictures" in there else ""
    paragraphs = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {title}",
        "Whether mitigations of a text-to-image diffusion model erased memorized training images, "
        f"or only hid them, as dorib {first.environment.dorib} measured it (profile "
        f"{board.profile}, k = {board.k}).",
        as_code(
            "from datasets import load_dataset\n\n"
            f'{there[0]} = load_dataset("FOLDER", "{there[0]}", split="train")\n'
        ),
        "\n".join(f"* `{name}`: {_TABLES[name]}" for name in there),
        "There is one split, which `datasets` calls `train`: nothing here is meant for training.",
        "## Licence",
        "Numbers are under the MIT licence." + pictured,
        "## To cite",
        as_code(citation(board, first) + "\n", "bibtex"),
        "Methods are cited by their own papers.",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _of_pictures(manifest: Manifest | None, left_out: Mapping[str, str]) -> str:
    text = (
        " Pictures keep the licences of the suite that they come from: the originals' own, and "
        "what its model drew is under the model's."
    )
    if manifest and manifest.licence:
        text += f" The suite states: {printable(manifest.licence)}"
    text += " Columns `title` to `page` say whose each original is, as far as its suite does."
    if left_out:
        reasons = "; ".join(printable(f"{sample} ({why})") for sample, why in left_out.items())
        text += f" Left out, since their licences do not let them be published: {reasons}."
    return text
