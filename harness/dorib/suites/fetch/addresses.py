"""Which addresses may be connected to: public ones, whatever a name or a redirect leads to.

A name is resolved once, every address it gives is judged, and the connection goes to an address
that was judged: a name that changes its answer in between (DNS rebinding) gains nothing. Proxies
of the environment are not used, since behind one it would be the proxy that resolves names.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import TypeAlias

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

Connected: TypeAlias = Callable[[socket.socket], None]

GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that has ever been handed out; what lies outside is local, reserved or a transition
mechanism's."""
NOT_OF_THE_NET = tuple(
    ipaddress.IPv6Network(block)
    for block in (
        "2001::/32",  # Teredo, and
        "2002::/16",  # 6to4: tunnels that lead to an IPv4 address of anyone's choice
        "3fff::/20",  # documentation, RFC 9637
    )
)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""How networks without IPv4 reach it: the last four bytes are the address, RFC 6052."""


class ForbiddenAddress(Exception):  # noqa: N818 - a verdict
    """A name leads to an address that is not public."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public net: global unicast, and no tunnel.

    An IPv4 address behind NAT64's well-known prefix is judged as what it is.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if ip in NAT64:
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if isinstance(ip, ipaddress.IPv6Address):
        within = ip in GLOBAL_UNICAST and not any(ip in block for block in NOT_OF_THE_NET)
        return within and ip.is_global
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def guarded_pools(allowed: frozenset[str], timeout: float, connected: Connected) -> PoolManager:
    """Connection pools that reach public addresses, and those in `allowed`.

    `timeout` is the longest silence, in seconds; `connected` is told of every socket.
    Asked for another address, they raise `ForbiddenAddress` before a packet is sent.
    """

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self, allowed, connected)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self, allowed, connected)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    pools = PoolManager(timeout=Timeout(connect=timeout, read=timeout))
    pools.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return pools


def _connect(
    connection: HTTPConnection, allowed: frozenset[str], connected: Connected
) -> socket.socket:
    host, port = connection.host, connection.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise NameResolutionError(host, connection, error) from error
    except UnicodeError as error:
        raise NewConnectionError(connection, f"{host!r} is no host name") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if address not in allowed and not is_public(address):
            raise ForbiddenAddress(f"{host} is {address}, which is not a public address")
    failure: OSError | None = None
    for address in addresses:
        try:
            made = create_connection(
                (address, port), connection.timeout, socket_options=connection.socket_options
            )
        except OSError as error:
            failure = error
        else:
            connected(made)
            return made
    raise NewConnectionError(connection, f"no connection to {host} ({failure})")
