"""The command that serves a library over HTTP: serve."""

from __future__ import annotations

import ipaddress
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import click

from api.cli.command import StrictCommand
from api.cli.options import settings_options
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    pass


@click.command(cls=StrictCommand)
@click.option("--watch", is_flag=True, help="Ingest what changes in the library's folders, too.")
@settings_options("library", "models", "serve", "server")
def serve(settings: Settings, watch: bool) -> None:
    """Serve the HTTP API of a library on this machine.

    While it runs, the other commands go through it and work the same.
    """
    from api.http.app import create_app
    from api.http.auth.keys import keyring_from_settings
    from api.http.logs import configure_logging
    from api.http.server import Server, leave_at_once
    from api.library.library import Library
    from api.library.models import torch_device
    from api.services.watch import watcher

    if settings.device not in ("auto", "cpu"):
        torch_device(settings.device)  # refused at once, not when the models are loaded
    keyring = keyring_from_settings(settings)
    beyond_loopback = settings.trust_network or bool(keyring)
    with (
        closing_when_asked(),
        listen(settings.host, settings.port, beyond_loopback=beyond_loopback) as listening,
        Library(settings, command="serve") as library,
    ):
        address = address_of(listening)
        _, ownership = library.own_index()
        app = create_app(library, ownership=ownership, keyring=keyring, warm=True)
        if ownership is not None:
            ownership.announce(address)
        bound = bound_address(listening)
        asks = f"asks for a key: {keyring}" if keyring else "asks for no key"
        click.echo(f"serving {library.folder} at {bound} (stop with Ctrl-C; {asks})", err=True)
        configure_logging(settings)
        watching = watcher(library) if watch else nullcontext(lambda: None)
        with watching as stop_watching:
            code = Server(app, settings, stop_watching).run_until_stopped(listening)
    leave_at_once(code)


@contextmanager
def closing_when_asked() -> Iterator[None]:
    """Leave without a word at Ctrl-C or SIGTERM, by an exception, so that what is open gets closed.

    While uvicorn serves, it handles both itself.
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
    """Return a socket that listens on a loopback address, or on any if that is allowed.

    Raises:
        UsageError: another address (that would need keys), or it or the port can't be had.
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
    """Say whether a host name means this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket, as this machine reaches it."""
    return url_of(*listening.getsockname()[:2])


def bound_address(listening: socket.socket) -> str:
    """Return the URL of a listening socket; where it listens everywhere, in words."""
    host, port = listening.getsockname()[:2]
    here = url_of(host, port)
    everywhere = ipaddress.ip_address(host).is_unspecified
    return (
        f"all addresses of this machine ({host}), port {port}; here {here}" if everywhere else here
    )


def url_of(host: str, port: int) -> str:
    """Return the URL at which this machine reaches what listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
