"""One download: http and https, few redirects, limits on size and time, retries with backoff."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TypeVar
from urllib.parse import urljoin

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, ProtocolError, SSLError

from dorib.printable import one_line, shortened
from dorib.suites.fetch.addresses import ForbiddenAddress, guarded_pools
from dorib.suites.prompt_tables.columns import is_web_address

REDIRECTS = (301, 302, 303, 307, 308)
TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
BLOCK = 1 << 16
LONGEST_PAUSE = 30.0

Result = TypeVar("Result")


class DownloadError(Exception):
    """A download failed; `again`: another attempt may help."""

    def __init__(self, reason: str, *, again: bool = False, pause: float | None = None) -> None:
        super().__init__(reason)
        self.again = again
        self.pause = pause
        """Seconds that the server asks to wait, where it does."""


class Stopped(Exception):  # noqa: N818 - no fault
    """The user stopped the fetch."""


@dataclass(frozen=True)
class Answer:
    """The headers of a final answer, and its body as it arrives."""

    status: int
    headers: Mapping[str, str]
    blocks: Iterator[bytes]


@dataclass
class Downloader:
    """What all downloads of one fetch share."""

    attempts: int = 3
    backoff: float = 1.0
    """Seconds before the second attempt; doubled before each further one."""
    silence: float = 20.0
    """Seconds without a byte after which an attempt is given up."""
    seconds: float = 120.0
    """That one attempt of `read` may take, whatever comes in between."""
    largest: int = 20_000_000
    """Bytes that `read` takes."""
    redirects: int = 5
    allowed: frozenset[str] = frozenset()
    """Addresses that may be connected to although they are not public."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sockets: set[socket.socket] = field(default_factory=set)

    def stop(self) -> None:
        """End all downloads, from any thread: they raise `Stopped`."""
        self._stop.set()
        with self._lock:
            _cut_all(self._sockets)

    def retried(self, attempt: Callable[[], Result]) -> Result:
        """What `attempt` gives, tried several times where that may help.

        Raises:
            DownloadError: it failed for good.
            Stopped: by `stop`.
        """
        for number in range(1, self.attempts + 1):
            try:
                return attempt()
            except DownloadError as error:
                if self._stop.is_set():
                    raise Stopped from error
                if not error.again or number == self.attempts:
                    raise
                pause = self.backoff * 2 ** (number - 1)
                self._stop.wait(min(max(pause, error.pause or 0.0), LONGEST_PAUSE))
        raise AssertionError("unreachable: attempts is at least 1")

    def read(self, url: str) -> bytes:
        """The whole body, in one attempt.

        Raises:
            DownloadError: it failed, is larger than `largest`, or took longer than `seconds`.
        """
        limit = self.largest
        with self.open(url, self.seconds) as answer:
            if answer.status != 200:
                raise DownloadError(f"status {answer.status}")
            announced = answer.headers.get("content-length")
            if (_number(announced) or 0.0) > limit:
                said = one_line(announced or "", 40)
                raise DownloadError(f"{said} bytes, more than the {limit:,} allowed")
            content = bytearray()
            for block in answer.blocks:
                content += block
                if len(content) > limit:
                    raise DownloadError(f"more than the {limit:,} bytes allowed")
            return bytes(content)

    @contextmanager
    def open(
        self, url: str, seconds: float, headers: Mapping[str, str] | None = None
    ) -> Iterator[Answer]:
        """The answer at the end of the redirects; all that happens inside must take `seconds`.

        Raises:
            DownloadError: see `again`.
        """
        if self._stop.is_set():
            raise Stopped
        sockets: list[socket.socket] = []
        started = time.monotonic()
        # What a server sends byte by byte never falls silent, so the clock cuts the line.
        clock = threading.Timer(seconds, _cut_all, [sockets])
        clock.daemon = True
        clock.start()

        def late() -> bool:
            return time.monotonic() - started >= seconds

        def connected(made: socket.socket) -> None:
            # A duplicate: TLS takes the original apart.
            double = made.dup()
            sockets.append(double)
            with self._lock:
                self._sockets.add(double)
            if late() or self._stop.is_set():
                _cut_all([double])

        pools = guarded_pools(self.allowed, self.silence, connected)
        try:
            response = self._follow(pools.request, url, dict(headers or {}))
            try:
                yield Answer(response.status, response.headers, _blocks(response, late))
            finally:
                response.close()
        except ForbiddenAddress as error:
            raise DownloadError(str(error)) from error
        except SSLError as error:
            raise DownloadError(f"no trusted connection ({_reason(error)})") from error
        except (HTTPError, HTTPException, OSError) as error:
            reason = f"not done within {seconds:g} s" if late() else _reason(error)
            raise DownloadError(reason, again=True) from error
        except (ValueError, OverflowError) as error:
            # What the HTTP libraries raise of headers that make no sense.
            raise DownloadError(f"an answer that makes no sense ({one_line(error)})") from error
        finally:
            clock.cancel()
            pools.clear()
            with self._lock:
                self._sockets.difference_update(sockets)
            for double in sockets:
                double.close()

    def _follow(
        self, request: Callable[..., BaseHTTPResponse], url: str, headers: dict[str, str]
    ) -> BaseHTTPResponse:
        # Compressed answers could unfold to any size, so none is asked for.
        sent = {"User-Agent": "dorib", "Accept-Encoding": "identity", **headers}
        for _ in range(self.redirects + 1):
            if not is_web_address(url):
                raise DownloadError(f"leads to {shortened(url)}, no http or https address")
            response = request(
                "GET", url, headers=sent, redirect=False, retries=False, preload_content=False
            )
            if response.status not in REDIRECTS:
                break
            location = response.headers.get("location")
            response.close()
            if not location:
                raise DownloadError(f"status {response.status} without a new address")
            url = _joined(url, location)
        else:
            raise DownloadError(f"more than {self.redirects} redirects")
        if response.status not in (200, 206, 416):
            response.close()
            raise DownloadError(
                f"status {response.status}",
                again=response.status in TRY_AGAIN,
                pause=_number(response.headers.get("retry-after")),
            )
        if response.headers.get("content-encoding", "identity") != "identity":
            response.close()
            raise DownloadError("a compressed answer, which was not asked for")
        return response


def _blocks(response: BaseHTTPResponse, late: Callable[[], bool]) -> Iterator[bytes]:
    while block := response.read1(BLOCK):
        yield block
    # A line that the clock has cut looks like an end where no length was announced.
    if late():
        raise OSError("cut")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise DownloadError(f"leads to {shortened(location)}, no address") from error


def _cut_all(connections: Iterable[socket.socket]) -> None:
    for connection in connections:
        # One that has ended by itself cannot be cut.
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _number(header: str | None) -> float | None:
    """What a header of digits says, however many; None where there are other characters."""
    digits = re.fullmatch(r"\s*([0-9]+)\s*", header or "", re.ASCII)
    return float(digits[1]) if digits else None


def _reason(error: BaseException) -> str:
    # urllib3 puts its connection object before what it has to say, or a cause after it.
    said = error.args[0] if isinstance(error, ProtocolError) and error.args else error
    text = re.sub(r"^(<.*?>|\w+\(host=.*?\)): ", "", " ".join(str(said).split()))
    return one_line(text, 200) or type(error).__name__
