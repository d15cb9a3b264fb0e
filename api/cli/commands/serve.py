"""The command that serves a library over HTTP: serve."""

from __future__ import annotations

import ipaddress
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import click

from api.cli.command import StrictCommand
from api.cli.options import settings_options
from api.settings import Settings
from search.errors import UsageError


@click.command(cls=StrictCommand)
@click.option("--watch", is_flag=True, help="Also watch the library's folders and ingest changes.")
@settings_options("library", "models", "serve", "server")
def serve(settings: Settings, watch: bool) -> None:
    """Serve the web page and HTTP API of a library.

    Meanwhile, other commands use the library through the server.
    """
    from api.http.app import create_app
    from api.http.auth.keys import keyring_from_settings
    from api.http.logs import configure_logging
    from api.http.server import Server, exit_immediately
    from api.library.library import Library
    from api.library.models import torch_device
    from api.services.watch import watcher

    if settings.device not in ("auto", "cpu"):
        torch_device(settings.device)  # fails now, not when the models are loaded
    keyring = keyring_from_settings(settings)
    beyond_loopback = settings.trust_network or bool(keyring)
    with (
        exiting_on_signals(),
        listen(settings.host, settings.port, beyond_loopback=beyond_loopback) as listening,
        Library(settings, command="serve") as library,
    ):
        address = address_of(listening)
        _, ownership = library.own_index()
        app = create_app(library, ownership=ownership, keyring=keyring, warm=True)
        if ownership is not None:
            ownership.announce(address)
        bound = bound_address(listening)
        keys = f"asks for a key: {keyring}" if keyring else "asks for no key"
        click.echo(f"serving {library.folder} at {bound} (stop with Ctrl-C; {keys})", err=True)
        configure_logging(settings)
        watching = watcher(library) if watch else nullcontext(lambda: None)
        with watching as stop_watching:
            code = Server(app, settings, stop_watching).run_until_stopped(listening)
    exit_immediately(code)


@contextmanager
def exiting_on_signals() -> Iterator[None]:
    """Raise SystemExit on Ctrl-C and SIGTERM, so that open resources get closed.

    While uvicorn runs, it handles these signals itself.
    """

    def leave(*_: object) -> None:
        raise SystemExit(0)

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen(host: str, port: int, *, beyond_loopback: bool = False) -> socket.socket:
    """Open a socket that listens on a loopback address, or on any address if allowed.

    Raises:
        UsageError: the address is not loopback and that is not allowed, or the port can't be used.
    """
    if not (beyond_loopback or is_loopback(host)):
        from api.http.auth.keys import HOW_TO_MAKE_ONE

        raise UsageError(
            f"--host {host}: without keys segsearch serves this machine only (127.0.0.1). Make a "
            f"key ({HOW_TO_MAKE_ONE}), put it into a file, and name that with --api-keys-file. "
            "(In a container whose port is published on loopback alone: --trust-network.)"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise UsageError(f"--port {port} can't be used: {error.strerror}. Try --port 0.") from error
    listening.listen(128)
    return listening


def is_loopback(host: str) -> bool:
    """Whether a host name is a loopback address."""
    address = _ip_address(host)
    return address.is_loopback if address else host == "localhost"


def address_of(listening: socket.socket) -> str:
    """The URL of a listening socket on this machine."""
    return url_of(*listening.getsockname()[:2])


def bound_address(listening: socket.socket) -> str:
    """The URL of a listening socket, with a note if it listens on all addresses."""
    host, port = listening.getsockname()[:2]
    local = url_of(host, port)
    if not _is_wildcard(host):
        return local
    return f"all addresses of this machine ({host}), port {port}; here {local}"


def url_of(host: str, port: int) -> str:
    """The URL at which this machine reaches a listening address."""
    if _is_wildcard(host):
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_wildcard(host: str) -> bool:
    address = _ip_address(host)
    return address is not None and address.is_unspecified


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:  # a host name
        return None
