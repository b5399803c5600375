"""Whatever stands in a file from outside: it is read, or refused in one line, in bounded time."""

from __future__ import annotations

import io
import signal
import struct
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from dorib import DoribError, MethodSpec, Suite
from dorib.config import read_config
from dorib.printable import LONGEST_LINE
from dorib.ranking.entries import read_entry
from dorib.ranking.records import read_records
from dorib.suites.fetch.fetched import read_manifest
from dorib.suites.images import read_image
from dorib.suites.prompt_tables import PromptTable, read_prompt_table
from dorib.suites.prompts import read_prompts
from dorib_sscd.network import DescriptorConfig, DescriptorNetwork
from fixtures import web
from fixtures.suites import manifest

ROOT = Path(__file__).parents[1]
SECONDS = 5
FULL = 10_000
REDUCED = 200

ODD = [
    *(
        b"\0",
        b"\xff",
        b"\xb2",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n",
        b"\n\n",
        b"\t",
        b" ",
        b"",
        b"\x1b[2J",
    ),
    *(text.encode() for text in ("\u2028", "\x85", "\u202e", "²", "🦊", "é")),
    *(b'"', b"'", b"\\", b"\\u", b"\\ud800", b"\\u0000", b",", b";", b":", b"=", b"{", b"}"),
    *(b"[", b"]", b"(", b")", b"-", b".", b"0", b"-1", b"1e999", b"9" * 5000, b"0x" + b"f" * 5000),
    *(b"null", b"true", b"NaN", b"[" * 2000, b"{" * 2000, b'{"a":' * 2000, b"- " * 2000),
    *(
        b"&a ",
        b"*a",
        b"<<: ",
        b"<<: *a",
        b"!!int ",
        b"!!float x",
        b"!!bool x",
        b"!!map x",
        b"!!seq",
    ),
    *(
        b"!!timestamp x",
        b"!!binary x",
        b"!!omap x",
        b"!!set x",
        b"!!python/none",
        b"!<x>",
        b"%YAML ",
    ),
    *(b"2001-13-45", b"? ", b"| ", b"> ", b"# ", b"---\n", b"...\n", b"=", b"1:90", b"_", b"~"),
    *(b"../", b"/", b"caption", b"id", b"images", b"split", b"cluster", b"role", b"x" * 5000),
]
"""What has ended a parser somewhere, or may."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails what computes for longer, whatever else the machine does."""

    def late(*_: object) -> None:
        raise AssertionError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def damaged(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """One of `seeds` with some parts cut out, copied, replaced or put in.

    Drawn from a single number: ten thousand examples of many draws each would take an hour.
    """

    def damage(number: int) -> bytes:
        lot = Random(number)
        content = lot.choice(seeds)
        for _ in range(lot.randint(0, 6)):
            start = lot.randint(0, len(content))
            end = min(len(content), start + lot.randint(0, 12))
            into = lot.choice(ODD) if lot.random() < 0.6 else lot.randbytes(lot.randint(0, 4))
            copies = lot.choice([1, 1, 1, 2, 40])
            content = content[:start] + into * copies + content[end:]
        return content

    return st.integers(0, 2**64 - 1).map(damage)


@dataclass(frozen=True)
class Parser:
    """What reads a file, its usual name, and good contents to damage."""

    read: Callable[[Path], Any]
    name: str
    seeds: Callable[[], list[bytes]]


def read_suite(path: Path) -> None:
    suite = Suite.load(path.parent)
    for use in (
        lambda: suite.samples,
        lambda: suite.utility_prompts,
        lambda: suite.component(suite.manifest.pipeline),
        lambda: suite.digest(),
        lambda: [suite.originals(sample) for sample in suite.samples],
    ):
        try:
            use()
        except DoribError as error:
            see_that_it_is_a_line(error)


def read_table(path: Path) -> None:
    read_prompt_table(PromptTable(table=path.name), lambda name: path.parent / name)


def read_samples(path: Path) -> None:
    path.with_name("suite.yaml").write_text(yaml.safe_dump(manifest()))
    suite = Suite.load(path.parent)
    for sample in suite.samples:
        suite.originals(sample)


def read_spec(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    str(MethodSpec.parse(text))


def read_weights(path: Path) -> None:
    """A descriptor's: the smallest network whose weights are read."""
    weights = path.read_bytes()
    with torch.random.fork_rng(devices=[]):
        DescriptorNetwork(SMALLEST).save_pretrained(path.parent)
    path.write_bytes(weights)
    DescriptorNetwork.from_pretrained(path.parent)


def descriptor_weights() -> bytes:
    with torch.random.fork_rng(devices=[]):
        return save(DescriptorNetwork(SMALLEST).state_dict())


def entries() -> list[bytes]:
    return [path.read_bytes() for path in sorted(ROOT.glob("leaderboards/*/entries/*.json"))[:2]]


SMALLEST = DescriptorConfig(input_size=8, widths=(8,), dimensions=2)
SAMPLE = (
    b'{"id": "a", "caption": "boat", "images": ["a.png"], "role": "memorized", "cluster": "a"}\n'
)
SUITE = yaml.safe_dump(manifest() | {"required_attacks": ["none", "dori:start=other"]}).encode()
BOMB = b"a: &a {x: 1}\n" + b"".join(
    b"b%d: &b%d {<<: [%s]}\n" % (n, n, b",".join([b"*b%d" % (n - 1) if n else b"*a"] * 9))
    for n in range(9)
)
RUN = b"mitigation: [wanda, {name: nemo, x: 1}]\nattack: dori:start=other\nbudgets: [24, 48]\n"

PARSERS = {
    "suite.yaml": Parser(read_suite, "suite.yaml", lambda: [SUITE, BOMB + SUITE, b"a: &a [*a]\n"]),
    "run file": Parser(lambda path: read_config(path, {}), "run.yaml", lambda: [RUN, b""]),
    "samples.jsonl": Parser(read_samples, "samples.jsonl", lambda: [SAMPLE, SAMPLE * 3, b"\n"]),
    "prompts in JSONL": Parser(read_prompts, "utility.jsonl", lambda: [b'{"caption": "a"}\n' * 3]),
    "prompts in CSV": Parser(read_prompts, "utility.CSV", lambda: [b"Caption,kind\na,b\nc,d\n"]),
    "prompt table in CSV": Parser(
        read_table,
        "table.csv",
        lambda: [
            b"id;Caption;URL;type;mean_sscd\n0;a podcast;https://a.org/1.jpg;VM;0.84\n",
            b",prompt,urls\n0,flag,\"['https://a.org/a.jpg', 'https://a.org/b.jpg']\"\n",
        ],
    ),
    "prompt table in JSONL": Parser(read_table, "table.jsonl", lambda: [SAMPLE * 2]),
    "spec": Parser(
        read_spec,
        "spec.txt",
        lambda: [b"wanda:sparsity=0.1,scope=per_sample", b"a:b=(c:d=[1,2],e={f: g}),h=1"],
    ),
    "fetch manifest": Parser(
        lambda path: read_manifest(path.parent),
        "manifest.json",
        lambda: [b'{"schema_version": 1, "name": "x", "files": [], "hub": ["a/b@c"]}'],
    ),
    "PNG": Parser(
        lambda path: read_image(path, (32, 32)),
        "picture.png",
        lambda: [web.picture(format=kind) for kind in ("PNG", "JPEG", "WEBP")],
    ),
    "safetensors": Parser(
        read_weights,
        "model.safetensors",
        lambda: [descriptor_weights(), struct.pack("<Q", 2**62) + b"{}"],
    ),
    "entry": Parser(read_entry, "entry.json", entries),
    "records": Parser(lambda path: list(read_records(path)), "records.jsonl", lambda: [b"{}\n"]),
}


def see_that_it_is_a_line(error: DoribError) -> None:
    message = str(error)
    # Wide spaces are shown as they are.
    seen = "".join(letter for letter in message if unicodedata.category(letter) != "Zs")
    assert seen.isprintable() and len(message) <= LONGEST_LINE, message


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def survives(parser: Parser, folder: Path, content: bytes) -> None:
    path = folder / parser.name
    path.write_bytes(content)
    with within(SECONDS):
        try:
            parser.read(path)
        except DoribError as error:
            see_that_it_is_a_line(error)


def fuzz(name: str, folder: Path, examples: int) -> None:
    parser = PARSERS[name]
    place = folder / name.replace(" ", "-")
    place.mkdir(exist_ok=True)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
    )
    @given(damaged(parser.seeds()))
    def attempt(content: bytes) -> None:
        survives(parser, place, content)

    attempt()


@pytest.mark.parametrize("name", PARSERS)
def test_a_damaged_file(name: str, folder: Path) -> None:
    fuzz(name, folder, REDUCED)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_many_damaged_files(name: str, folder: Path) -> None:
    fuzz(name, folder, FULL)


@pytest.mark.parametrize("name", PARSERS)
def test_the_seeds_are_good(name: str, folder: Path) -> None:
    """What is damaged must be read where it is not, or nothing deep is reached."""
    parser = PARSERS[name]
    if name == "records":
        pytest.skip("a line of nothing is no record")
    (folder / f"good-{name}").mkdir()
    path = folder / f"good-{name}" / parser.name
    path.write_bytes(parser.seeds()[0])
    parser.read(path)


def test_too_long_a_computation_fails() -> None:
    with pytest.raises(AssertionError, match="not done"), within(0.05):
        while io.BytesIO(b"x").read():
            pass
