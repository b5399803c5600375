"""dorib fetch against a server of faults: each ends in a right manifest or a clear refusal."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from dorib.cli.app import main
from dorib.errors import DoribError
from dorib.suites.fetch import hub
from dorib.suites.fetch.absent import absent
from dorib.suites.fetch.addresses import is_public
from dorib.suites.fetch.controls import take_controls
from dorib.suites.fetch.download import Downloader, DownloadError
from dorib.suites.fetch.fetched import FetchManifest
from dorib.suites.fetch.files import fetch_file
from dorib.suites.fetch.sources import FetchFile, stored_original
from dorib.suites.fetch.suite_data import Advance, Fetched, fetch_suite
from dorib.suites.manifest import Manifest
from dorib.suites.suite import Suite
from fixtures import web

PROFILE = {"seeds": 1, "budgets": [24], "utility": 2}
QUICK = {"backoff": 0.01, "silence": 1.0, "seconds": 2.0, "largest": 100_000}
HEADER = ";Caption;URL;type;mean_sscd;max_sscd;Index"


@pytest.fixture
def site() -> Iterator[web.Site]:
    with web.serving() as site:
        yield site


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, with nothing in it."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(hub, "fetch_hub", lambda name: pytest.fail(f"asked the hub for {name}"))
    monkeypatch.setattr(hub, "is_on_disk", lambda name: False)
    return home


class Quiet:
    """Watches and says nothing."""

    @contextmanager
    def step(self, name: str, total: int | None) -> Iterator[Advance]:
        yield lambda amount=1, note=None: None


def near(**changes: Any) -> Downloader:
    """A downloader that is soon out of patience and may connect to this machine."""
    return Downloader(**(QUICK | changes), allowed=frozenset({web.HERE}))


def save_suite(folder: Path, site: web.Site, paths: list[str], **fetch: Any) -> Suite:
    """A suite of one sample for each path of the site, its table among what is fetched."""
    rows = [f"{n};picture {n};{site.url(path)};VM;0.8;0.9;{n}" for n, path in enumerate(paths, 1)]
    table = "\n".join([HEADER, *rows]).encode()
    site.replies["/prompts.csv"] = web.content(table)
    file = {
        "path": "prompts.csv",
        "url": site.url("/prompts.csv"),
        "sha256": hashlib.sha256(table).hexdigest(),
    }
    content = {
        "name": "web",
        "version": "1",
        "pipeline": "nobody/nothing",
        "samples": {"table": "prompts.csv", "controls": "controls"},
        "fetch": {"name": "web", "files": [file], **fetch},
        "sampling": {"height": 32, "width": 32, "steps": 2, "guidance_scale": 1.0},
        "quick": PROFILE,
        "full": PROFILE,
    }
    folder.mkdir(exist_ok=True)
    (folder / "suite.yaml").write_text(yaml.safe_dump(content))
    return Suite.load(folder, "web")


def reasons(fetched: Fetched) -> dict[str, str]:
    return {entry.samples[0]: entry.reason for entry in fetched.manifest.missing}


def bomb() -> bytes:
    """A PNG whose header promises 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


def drip(asked: web.Asked) -> None:
    """Never silent, and never done."""
    asked.send_response(200)
    asked.end_headers()
    drip_of_headers(asked)


def drip_of_headers(asked: web.Asked) -> None:
    while not asked.hung_up(within=QUICK["silence"] / 4):
        asked.wfile.write(b"x")
        asked.wfile.flush()


def silent(asked: web.Asked) -> None:
    assert asked.hung_up(within=60)


def truncated(asked: web.Asked) -> None:
    body = web.picture()
    asked.send(body[: len(body) // 2], Content_Length=str(len(body)))


def endless(asked: web.Asked) -> None:
    asked.send_response(200)
    asked.end_headers()
    for _ in range(1000):
        asked.wfile.write(b"x" * 10_000)


FAULTS: dict[str, tuple[web.Reply, str]] = {
    "not found": (web.status(404), "status 404"),
    "gone": (web.status(410), "status 410"),
    "never well": (web.status(503), "status 503"),
    "a web page": (web.content(b"<!DOCTYPE html>", Content_Type="image/png"), "a web page"),
    "a GIF": (web.content(web.picture(format="GIF")), "a GIF"),
    "nothing": (web.content(b""), "nothing came"),
    "too large, announced": (web.content(b"x" * 200_000), "more than the 100,000 allowed"),
    "too large, unannounced": (endless, "more than the 100,000 bytes allowed"),
    "cut short": (truncated, "2212 more expected"),
    "cut short, unannounced": (
        lambda asked: web.content(web.picture()[:-600], Content_Length="")(asked),
        "damaged",
    ),
    "dripping": (drip, "not done within"),
    "dripping headers": (drip_of_headers, "not done within"),
    "silent": (silent, "timed out"),
    "a bomb": (web.content(bomb()), "more pixels than can be handled"),
    "a tracking pixel": (web.content(web.picture(size=(1, 1))), "1 x 1 pixels"),
    "compressed": (web.content(b"", Content_Encoding="gzip"), "compressed"),
    "a redirect to nowhere": (web.status(302), "without a new address"),
    "a redirect to a file": (web.redirect("file:///etc/passwd"), "no http or https address"),
    "a redirect to FTP": (web.redirect("ftp://example.org/x.png"), "no http or https address"),
    "a redirect with a password": (web.redirect("http://a:b@example.org/"), "no http or https"),
    "a redirect to no address": (web.redirect("http://[/"), "no address"),
    "a redirect to another loopback": (web.redirect("http://127.0.0.2/"), "not a public address"),
    "a redirect to IPv6 loopback": (web.redirect("http://[::1]/"), "not a public address"),
    "a redirect into the house": (web.redirect("http://192.168.0.1/"), "not a public address"),
    "a redirect to the cloud": (web.redirect("http://169.254.169.254/"), "not a public address"),
    "a redirect in other digits": (web.redirect("http://2130706434/"), "not a public address"),
    "a redirect to a mapped one": (web.redirect("http://[::ffff:10.0.0.1]/"), "not a public"),
    "a broken chunk": (web.content(web.picture_with_a_broken_chunk()), "damaged"),
    "an odd length": (web.content(web.picture()[:-600], Content_Length="\xb2"), "damaged"),
    "a length of 5,000 digits": (web.content(b"", Content_Length="9" * 5000), "allowed"),
    "an odd time to wait": (web.status(503, Retry_After="\xb2"), "status 503"),
    "416, unasked": (web.status(416), "status 416"),
    "odd chunks": (
        web.content(b"fffffffffffffffffffffffff\r\nx", Transfer_Encoding="chunked"),
        "",
    ),
    "chunks of no number": (web.content(b"\xb2\r\nx", Transfer_Encoding="chunked"), ""),
    "an odd encoding": (web.content(b"x", Content_Encoding="\xb2"), "compressed"),
    "a redirect of odd letters": (web.redirect("http://\xb2.\xff\xfe/\x7f"), ""),
    "a redirect to a long name": (web.redirect(f"http://{'a' * 300}.org/"), ""),
    "a redirect to an odd port": (web.redirect("http://a.org:\xb2/"), "no http or https address"),
    "an escape in the address": (web.redirect("x:\x1b[31m"), r"leads to 'x:\x1b[31m'"),
}


def test_every_fault_at_once(site: web.Site, tmp_path: Path, home: Path) -> None:
    """All of them beside good pictures: the manifest is right, and nothing lies elsewhere."""
    paths = {f"/{number}": reply for number, (reply, _) in enumerate(FAULTS.values(), 1)}
    site.replies |= paths
    site.replies["/loop"] = web.redirect("/loop")
    for number, format in enumerate(("PNG", "JPEG", "WEBP")):
        site.replies[f"/good.{number}"] = web.content(web.picture(number, format))
    suite = save_suite(tmp_path / "suite", site, [*paths, "/loop", "/good.0", "/good.1", "/good.2"])
    before = sorted(tmp_path.rglob("*"))
    fetched = fetch_suite(suite, Quiet(), downloader=near(), workers=16)
    found = reasons(fetched)
    for number, (fault, (_, says)) in enumerate(FAULTS.items(), 1):
        reason = found.pop(str(number))
        assert reason and says in reason, (fault, reason)
        assert reason.isprintable() and len(reason) <= 300, fault
    assert "more than 5 redirects" in found.pop(str(len(paths) + 1))
    assert not found
    assert len(fetched.manifest.originals) == 3
    for entry in fetched.manifest.originals:
        content = (home / ".cache/dorib/data/web" / entry.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry.sha256
        assert Image.open(io.BytesIO(content)).size == (entry.width, entry.height) == (40, 36)
    with_original = [sample.id for sample in suite.samples if suite.originals(sample)]
    assert with_original == [str(len(paths) + 2 + number) for number in range(3)]
    new = [path for path in tmp_path.rglob("*") if path not in before and path.is_file()]
    assert not [path for path in new if not path.is_relative_to(home / ".cache/dorib")]
    assert not [path for path in new if path.name.startswith(".part")]
    stored = json.loads(fetched.path.read_text())
    assert suite.manifest.fetch
    sha256 = suite.manifest.fetch.files[0].sha256
    assert FetchManifest.model_validate(stored) == fetched.manifest
    assert stored["files"] == [
        {
            "path": f"data/web/tables/{sha256[:16]}/prompts.csv",
            "sha256": sha256,
            "url": site.url("/prompts.csv"),
        }
    ]


def test_a_server_may_ask_for_any_time_to_wait(site: web.Site) -> None:
    site.replies["/a"] = web.status(503, Retry_After="9" * 5000)
    with pytest.raises(DownloadError, match="status 503") as failed:
        near().read(site.url("/a"))
    assert failed.value.pause == float("inf")


def test_what_fails_for_good_is_asked_for_once(site: web.Site) -> None:
    for path, reply in {"/a": web.status(404), "/b": web.redirect("file:///x")}.items():
        site.replies[path] = reply
        with pytest.raises(DownloadError):
            near().retried(lambda path=path: near().read(site.url(path)))  # type: ignore[misc]
        assert site.asked[path] == 1


@pytest.mark.parametrize("fault", [web.status(500), truncated, web.status(429, Retry_After="0")])
def test_what_may_pass_is_tried_again(site: web.Site, tmp_path: Path, fault: web.Reply) -> None:
    site.replies["/a"] = web.first(fault, times=2, then=web.content(web.picture()))
    fetched = fetch_suite(save_suite(tmp_path / "s", site, ["/a"]), Quiet(), downloader=near())
    assert not fetched.manifest.missing
    assert site.asked["/a"] == 3


def test_redirects_are_followed(site: web.Site, tmp_path: Path) -> None:
    site.replies["/a"] = web.redirect("b")
    site.replies["/b"] = web.redirect(site.url("/c"))
    site.replies["/c"] = web.content(web.picture())
    fetched = fetch_suite(save_suite(tmp_path / "s", site, ["/a"]), Quiet(), downloader=near())
    assert len(fetched.manifest.originals) == 1


def test_this_machine_is_out_of_reach_unless_it_is_allowed(site: web.Site, tmp_path: Path) -> None:
    suite = save_suite(tmp_path / "s", site, ["/a"])
    with pytest.raises(DoribError, match=r"127\.0\.0\.1, which is not a public address"):
        fetch_suite(suite, Quiet(), downloader=Downloader(**QUICK))  # type: ignore[arg-type]
    assert not site.asked


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Names resolve to `answers` in turn; gives the list of what was connected to."""
    turns = iter(answers)
    connected: list[str] = []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in next(turns)]

    def create_connection(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        connected.append(address[0])
        raise OSError("nobody there")

    monkeypatch.setattr("dorib.suites.fetch.addresses.socket.getaddrinfo", getaddrinfo)
    monkeypatch.setattr("dorib.suites.fetch.addresses.create_connection", create_connection)
    return connected


def test_a_name_is_connected_to_where_it_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second answer (DNS rebinding) is never asked for."""
    connected = resolving(monkeypatch, ["93.184.216.34"], ["10.0.0.1"])
    with pytest.raises(DownloadError, match="nobody there"):
        near().read("http://rebinding.example/x.png")
    assert connected == ["93.184.216.34"]


def test_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    connected = resolving(monkeypatch, ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(DownloadError, match=r"10\.0\.0\.1, which is not a public address"):
        near().read("https://both.example/x.png")
    assert not connected


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("fc00::1", False),
        ("fe80::1%eth0", False),
        ("ff02::1", False),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::808:808", False),
        ("fec0::1", False),
        ("::ffff:0:808:808", False),
        ("::808:808", False),
        ("3fff::1", False),
        ("2001:db8::1", False),
        ("5f00::1", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("4000::1", False),
        ("240.0.0.1", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_proxies_of_the_environment_are_not_used(
    site: web.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:1")
    site.replies["/a"] = web.content(b"body")
    assert near().read(site.url("/a")) == b"body"


def test_a_second_fetch_asks_for_nothing_that_is_there(site: web.Site, tmp_path: Path) -> None:
    site.replies |= {"/a": web.content(web.picture(1)), "/b": web.status(404)}
    folder = tmp_path / "s"
    first = fetch_suite(save_suite(folder, site, ["/a", "/b"]), Quiet(), downloader=near())
    site.replies["/b"] = web.content(web.picture(2))
    second = fetch_suite(Suite.load(folder), Quiet(), downloader=near())
    assert site.asked == {"/prompts.csv": 1, "/a": 1, "/b": 2}
    assert [len(first.manifest.missing), len(second.manifest.missing)] == [1, 0]


def test_the_same_state_gives_the_same_manifest(site: web.Site, tmp_path: Path) -> None:
    site.replies |= {"/a": web.content(web.picture(1)), "/b": web.status(404)}
    suite = save_suite(tmp_path / "s", site, ["/a", "/b"])
    first = fetch_suite(suite, Quiet(), downloader=near()).path.read_bytes()
    assert fetch_suite(suite, Quiet(), downloader=near()).path.read_bytes() == first


def test_an_address_of_several_samples_is_fetched_once(site: web.Site, tmp_path: Path) -> None:
    site.replies["/a"] = web.content(web.picture())
    suite = save_suite(tmp_path / "s", site, ["/a", "/a"])
    fetched = fetch_suite(suite, Quiet(), downloader=near())
    assert site.asked["/a"] == 1
    assert fetched.manifest.originals[0].samples == ("1", "2")


@pytest.mark.parametrize("manifest_there", [True, False])
def test_a_damaged_original_is_fetched_anew(
    site: web.Site, tmp_path: Path, manifest_there: bool
) -> None:
    site.replies["/a"] = web.content(web.picture())
    suite = save_suite(tmp_path / "s", site, ["/a"])
    fetched = fetch_suite(suite, Quiet(), downloader=near())
    path = fetched.path.parent / fetched.manifest.originals[0].path
    path.write_bytes(path.read_bytes()[:100])
    if not manifest_there:
        fetched.path.write_text("{")
    assert fetch_suite(suite, Quiet(), downloader=near()).manifest == fetched.manifest
    assert site.asked["/a"] == 2


def test_suites_that_share_data_keep_each_others_entries(site: web.Site, tmp_path: Path) -> None:
    site.replies |= {"/a": web.content(web.picture()), "/b": web.status(404)}
    fetch_suite(save_suite(tmp_path / "s", site, ["/a", "/b"]), Quiet(), downloader=near())
    fewer = save_suite(tmp_path / "t", site, ["/c"])
    fetched = fetch_suite(fewer, Quiet(), downloader=near())
    assert [entry.url for entry in fetched.manifest.originals] == [site.url("/a")]
    assert {entry.url for entry in fetched.manifest.missing} == {site.url("/b"), site.url("/c")}


def test_one_suite_cannot_change_what_another_reads(site: web.Site, tmp_path: Path) -> None:
    first = save_suite(tmp_path / "s", site, ["/a", "/b"])
    fetch_suite(first, Quiet(), downloader=near())
    second = save_suite(tmp_path / "t", site, ["/c"])
    fetch_suite(second, Quiet(), downloader=near())
    assert len(Suite.load(first.root).samples) == 2
    assert len(Suite.load(second.root).samples) == 1


def test_a_table_is_checked_when_it_is_read(site: web.Site, tmp_path: Path, home: Path) -> None:
    suite = save_suite(tmp_path / "s", site, ["/a"])
    fetch_suite(suite, Quiet(), downloader=near())
    [table] = (home / ".cache/dorib").rglob("prompts.csv")
    table.write_text("id,caption\nx,forged\n")
    with pytest.raises(DoribError, match=r"sha256 suite\.yaml states; run `dorib fetch web`"):
        _ = Suite.load(suite.root, "web").samples
    fetch_suite(Suite.load(suite.root), Quiet(), downloader=near())
    assert len(Suite.load(suite.root).samples) == 1


def test_two_fetches_at_once_are_refused(site: web.Site, tmp_path: Path, home: Path) -> None:
    from filelock import FileLock

    suite = save_suite(tmp_path / "s", site, ["/a"])
    (home / ".cache/dorib").mkdir(parents=True)
    with (
        FileLock(home / ".cache/dorib/.fetch.lock"),
        pytest.raises(DoribError, match="another dorib fetch is at work"),
    ):
        fetch_suite(suite, Quiet(), downloader=near())


PROGRAM = """
import sys
from contextlib import contextmanager
from pathlib import Path
from dorib.suites.fetch.download import Downloader
from dorib.suites.fetch.suite_data import fetch_suite
from dorib.suites.suite import Suite

class Quiet:
    @contextmanager
    def step(self, name, total):
        yield lambda amount=1, note=None: None

downloader = Downloader(allowed=frozenset({"127.0.0.1"}))
fetch_suite(Suite.load(Path(sys.argv[1])), Quiet(), downloader=downloader, workers=3)
"""


def start_fetch(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], env=environment)


def test_killed_among_originals_and_resumed(site: web.Site, tmp_path: Path, home: Path) -> None:
    paths = [f"/{number}.png" for number in range(24)]
    at_the_gate = threading.Event()

    def reply(asked: web.Asked) -> None:
        # Three workers: once all of them wait here, none is on its way with another question.
        count = sum(site.asked[path] for path in paths)
        if count > 11:
            if count == 14:
                at_the_gate.set()
            asked.hung_up(within=60)
        else:
            asked.send(web.picture(paths.index(asked.path)))

    site.replies |= dict.fromkeys(paths, reply)
    suite = save_suite(tmp_path / "s", site, paths)
    folder = home / ".cache/dorib/data/web"
    process = start_fetch(suite.root)
    assert at_the_gate.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = [path for path in paths if stored_original(folder, site.url(path))]
    assert 8 <= len(there) < len(paths)
    assert not (folder / "manifest.json").exists()
    asked = site.asked.copy()
    pictures = {path: web.content(web.picture(n)) for n, path in enumerate(paths)}
    site.replies |= pictures
    fetched = fetch_suite(suite, Quiet(), downloader=near())
    again = site.asked - asked
    assert again == dict.fromkeys(set(paths) - set(there), 1)
    assert len(fetched.manifest.originals) == len(paths)
    assert not list(folder.rglob(".part-*"))


def ranged(body: bytes) -> web.Reply:
    """Serves parts of a file, as servers of weights do."""

    def reply(asked: web.Asked) -> None:
        wanted = asked.headers.get("Range", "bytes=0-")
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            asked.send(b"", 416)
            return
        rest = body[start:]
        asked.send_response(206 if start else 200)
        asked.send_header("Content-Length", str(len(rest)))
        asked.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        asked.end_headers()
        asked.wfile.write(rest)

    return reply


def weights_of(site: web.Site, body: bytes, path: str = "weights/w.pt") -> dict[str, str]:
    return {"path": path, "url": site.url("/w"), "sha256": hashlib.sha256(body).hexdigest()}


def test_killed_within_a_file_and_resumed(site: web.Site, tmp_path: Path, home: Path) -> None:
    body = os.urandom(200_000)
    half_sent, written = threading.Event(), home / ".cache/dorib/weights/.part-w.pt"

    def half(asked: web.Asked) -> None:
        asked.send(body[:100_000], Content_Length=str(len(body)))
        asked.wfile.flush()
        # What the system has not taken over yet is lost with the process.
        while not (written.exists() and written.stat().st_size):
            assert not asked.hung_up(within=0.05)
        half_sent.set()
        asked.hung_up(within=60)

    site.replies["/w"] = half
    suite = save_suite(tmp_path / "s", site, ["/a"], weights=[weights_of(site, body)])
    process = start_fetch(suite.root)
    assert half_sent.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    had = written.stat().st_size
    assert 0 < had < len(body)
    site.replies["/w"] = ranged(body)
    fetched = fetch_suite(suite, Quiet(), downloader=near())
    assert not fetched.failed
    assert (home / ".cache/dorib/weights/w.pt").read_bytes() == body
    assert [asked for asked in site.ranges if asked] == [f"bytes={had}-"]
    assert not written.exists()


@pytest.mark.parametrize("partial", [b"other bytes", b"x" * 5000])
def test_a_part_that_does_not_fit_is_dropped(
    site: web.Site, tmp_path: Path, partial: bytes
) -> None:
    body = b"weights" * 500
    site.replies["/w"] = ranged(body)
    (tmp_path / ".part-w").write_bytes(partial)
    file = FetchFile.model_validate(weights_of(site, body))
    assert fetch_file(file, tmp_path / "w", near(), lambda _: None)
    assert (tmp_path / "w").read_bytes() == body


def test_a_server_that_gives_no_parts_starts_anew(site: web.Site, tmp_path: Path) -> None:
    body = b"weights" * 500
    site.replies["/w"] = web.content(body)
    (tmp_path / ".part-w").write_bytes(body[:100])
    fetch_file(
        FetchFile.model_validate(weights_of(site, body)), tmp_path / "w", near(), lambda _: None
    )
    assert (tmp_path / "w").read_bytes() == body


def test_another_file_than_the_pinned_one_is_not_kept(site: web.Site, tmp_path: Path) -> None:
    site.replies["/w"] = web.content(b"tampered")
    suite = save_suite(tmp_path / "s", site, ["/a"], weights=[weights_of(site, b"genuine")])
    fetched = fetch_suite(suite, Quiet(), downloader=near())
    [(_, reason)] = fetched.failed
    assert "nothing of it was kept" in reason
    assert not list((tmp_path / "home").rglob("*w.pt"))
    assert not [entry for entry in fetched.manifest.files if entry.path == "weights/w.pt"]


def test_a_table_that_cannot_be_had_says_how_it_can(site: web.Site, tmp_path: Path) -> None:
    suite = save_suite(tmp_path / "s", site, ["/a"])
    site.replies["/prompts.csv"] = web.status(404)
    with pytest.raises(DoribError, match=r"status 404.*run `dorib fetch web` again.*prompts\.csv"):
        fetch_suite(suite, Quiet(), downloader=near())


@pytest.mark.parametrize(
    "entry",
    [
        {"files": [{"path": "../up.csv", "url": "https://a.org/x", "sha256": "0" * 64}]},
        {"files": [{"path": "/etc/up.csv", "url": "https://a.org/x", "sha256": "0" * 64}]},
        {"files": [{"path": "originals/x", "url": "https://a.org/x", "sha256": "0" * 64}]},
        {"files": [{"path": "x.csv", "url": "file:///etc/passwd", "sha256": "0" * 64}]},
        {"files": [{"path": "x.csv", "url": "https://a.org/x", "sha256": "short"}]},
        {"weights": [{"path": ".ssh/x", "url": "https://a.org/x", "sha256": "0" * 64}]},
        {"weights": [{"path": "data/x", "url": "https://a.org/x", "sha256": "0" * 64}]},
        {"name": "../up"},
        {"hub": ["https://a.org/x"]},
        {"hub": ["../../up"]},
    ],
)
def test_names_from_outside_become_no_paths(
    site: web.Site, tmp_path: Path, entry: dict[str, Any]
) -> None:
    with pytest.raises(DoribError, match=r"suite\.yaml: 'fetch\."):
        save_suite(tmp_path / "s", site, ["/a"], **entry)


def test_hub_ids_go_to_the_hub_library(
    site: web.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch_hub(name: str) -> str:
        if name == "nobody/nothing":
            raise DownloadError("it is gated")
        return f"{name}@abc"

    monkeypatch.setattr(hub, "fetch_hub", fetch_hub)
    suite = save_suite(tmp_path / "s", site, ["/a"], hub=["some/clip"])
    assert fetch_suite(suite, Quiet(), downloader=near()).manifest.hub == ("some/clip@abc",)
    fetched = fetch_suite(suite, Quiet(), downloader=near(), pipeline=True)
    assert fetched.failed == [("nobody/nothing", "it is gated")]
    assert fetched.manifest.hub == ("some/clip@abc",)


def save_controls(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    (folder / "cat.png").write_bytes(web.picture(5))
    row = {"file_name": "cat.png", "caption": "a cat"} | changes
    (folder / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def test_controls_are_taken_in(site: web.Site, tmp_path: Path) -> None:
    suite = save_suite(tmp_path / "s", site, ["/a"])
    fetch_suite(suite, Quiet(), downloader=near(), controls=save_controls(tmp_path / "mine"))
    [control] = [sample for sample in Suite.load(suite.root).samples if sample.role == "control"]
    assert (control.id, control.caption) == ("control-cat", "a cat")
    [original] = suite.originals(control)
    assert original.read_bytes() == web.picture(5)
    files = fetch_suite(suite, Quiet(), downloader=near()).manifest.files
    assert "data/web/controls/cat.png" in [entry.path for entry in files]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"file_name": "dog.png"}, "no usable picture"),
        ({"file_name": "../secret.png"}, "leads out"),
        ({"file_name": "loop.png"}, "no usable picture"),
        ({"file_name": "pipe.png"}, "no regular file"),
        ({"file_name": "a" * 300}, "no usable picture"),
        ({"file_name": "metadata.jsonl"}, "no usable picture"),
        ({"caption": " "}, "no caption"),
        ({"role": "memorized"}, "all are controls"),
        ({"colour": "red"}, "no column 'colour'"),
    ],
)
def test_bad_controls_are_refused_and_the_old_ones_stay(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    (tmp_path / "secret.png").write_bytes(web.picture())
    data = tmp_path / "data"
    take_controls(save_controls(tmp_path / "good"), data)
    bad = save_controls(tmp_path / "bad", **changes)
    (bad / "loop.png").symlink_to("loop.png")
    os.mkfifo(bad / "pipe.png")
    with pytest.raises(DoribError, match=says) as refused:
        take_controls(bad, data)
    assert "metadata.jsonl, row 1: " in str(refused.value)
    assert (data / "controls" / "cat.png").exists()


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert isinstance(exit.value.code, int)
    return exit.value.code


def test_offline_names_what_is_missing_and_connects_to_nothing(
    site: web.Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    body = b"weights"
    site.replies |= {"/a": web.content(web.picture()), "/b": web.status(404)}
    site.replies["/w"] = web.content(body)
    weights = [weights_of(site, body)]
    suite = save_suite(tmp_path / "s", site, ["/a", "/b"], weights=weights, hub=["some/clip"])
    assert call("fetch", str(suite.root), "--offline") == 2
    printed = capfd.readouterr()
    out = printed.out.replace("\n", "")
    for name in ("prompts.csv", "weights/w.pt", "some/clip", "nobody/nothing", "--pipeline"):
        assert name in out
    assert printed.err.count("\n") == 1
    assert f"dorib fetch {suite.root}" in printed.err
    assert not site.asked
    assert not (tmp_path / "home" / ".cache").exists()


def test_offline_after_a_fetch(site: web.Site, tmp_path: Path, monkeypatch: Any) -> None:
    """A dead link is no missing file; an original that was deleted is."""
    monkeypatch.setattr(hub, "is_on_disk", lambda name: True)
    site.replies |= {"/a": web.content(web.picture()), "/b": web.status(404)}
    suite = save_suite(tmp_path / "s", site, ["/a", "/b"])
    fetched = fetch_suite(suite, Quiet(), downloader=near())
    assert not list(absent(suite))
    (fetched.path.parent / fetched.manifest.originals[0].path).unlink()
    [lost] = absent(suite)
    assert site.url("/a") in lost.what
    assert lost.command == "dorib fetch web"


def test_the_command_line_shows_what_is_missing(
    site: web.Site, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("dorib.suites.fetch.suite_data.Downloader", near)
    site.replies |= {"/a": web.content(web.picture()), "/b": web.status(404)}
    suite = save_suite(tmp_path / "s", site, ["/a", "/b"])
    assert call("fetch", str(suite.root)) == 0
    out = capfd.readouterr().out
    assert "status 404" in out
    assert "1 of 2 samples have an original" in out
    assert "No controls" in out
    assert call("fetch", str(tmp_path)) == 2


def test_a_suite_without_anything_to_fetch(tiny_suite_folder: Path) -> None:
    assert call("fetch", str(tiny_suite_folder)) == 2


def test_the_manifest_allows_no_unknown_names() -> None:
    assert Manifest.model_fields["fetch"].default is None
