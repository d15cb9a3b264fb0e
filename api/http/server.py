"""The server that runs the application, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

import uvicorn
from fastapi import FastAPI
from uvicorn.server import HANDLED_SIGNALS

from api.settings import Settings


class Server(uvicorn.Server):
    """Asked to end, it takes no more requests and gives those that run some time to end."""

    def __init__(
        self, app: FastAPI, settings: Settings, stop_first: Callable[[], None] = lambda: None
    ) -> None:
        """Know what to serve.

        Args:
            app: the application; its job is stopped before the server takes no more requests.
            settings: how long those that run may take then.
            stop_first: stops what else writes through this server, and waits for it.
        """
        config = uvicorn.Config(
            app,
            log_config=None,  # its lines go the way of all others: see api.http.logs
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=settings.stop_timeout_s,
        )
        super().__init__(config)
        self._jobs = app.state.jobs
        self._stop_first = stop_first

    def run_until_stopped(self, listening: socket.socket) -> int:
        """Serve until Ctrl-C or SIGTERM; return the exit code."""
        # From here on, not only once the loop runs: an exception that is raised between the two
        # would leave a coroutine that nobody awaited. uvicorn sends a signal again, to these.
        handlers = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            self.run(sockets=[listening])
        except SystemExit as ended:  # it could not start
            return int(ended.code or 0)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return 0

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop a job and a watch first: they write what they have in hand through this server.

        While a job runs, who follows it would hold up all the rest.
        """
        await asyncio.gather(self._jobs.close(), asyncio.to_thread(self._stop_first))
        await super().shutdown(sockets)


def leave_at_once(code: int) -> NoReturn:
    """End this process, in which all is closed, without taking apart what the models are made of.

    With torch loaded Python needs seconds for that, on a busy machine twenty.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
