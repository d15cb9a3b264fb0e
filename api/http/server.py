"""The uvicorn server that runs the application, and its shutdown."""

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
    """On shutdown it stops jobs first, then gives running requests some time to end."""

    def __init__(
        self, app: FastAPI, settings: Settings, before_shutdown: Callable[[], None] = lambda: None
    ) -> None:
        """Configure uvicorn.

        Args:
            app: the application; its job is stopped before the server stops accepting requests.
            settings: the time limit of the shutdown.
            before_shutdown: stops other processes that write through this server, and waits.
        """
        config = uvicorn.Config(
            app,
            log_config=None,  # api.http.logs configures logging
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=settings.stop_timeout_s,
        )
        super().__init__(config)
        self._jobs = app.state.jobs
        self._before_shutdown = before_shutdown

    def run_until_stopped(self, listening: socket.socket) -> int:
        """Serve until Ctrl-C or SIGTERM; return the exit code."""
        # Handlers are set before the loop runs: an exception raised in between would leave a
        # coroutine that is never awaited. uvicorn re-raises captured signals to these handlers.
        handlers = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            self.run(sockets=[listening])
        except SystemExit as error:  # startup failed
            return int(error.code or 0)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return 0

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the job and the watcher first: they finish their photo through this server.

        Event streams of a running job would also delay the shutdown.
        """
        await asyncio.gather(self._jobs.close(), asyncio.to_thread(self._before_shutdown))
        await super().shutdown(sockets)


def exit_immediately(code: int) -> NoReturn:
    """End this process, with everything closed, without the interpreter's own shutdown.

    With torch loaded, that takes seconds, on a busy machine twenty.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
