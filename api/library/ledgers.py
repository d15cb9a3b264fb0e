"""Connections to the ledger of a library: one for each thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from api.library.checks import open_ledger_of, place_ledger
from api.library.configuration import Configuration
from api.library.permissions import make_private_folder
from ingest.catalog.ledger import Ledger

REBUILDING = "rebuilding"  # folder of a ledger while it is rebuilt


class Ledgers:
    """Opens the ledger; while a lost one is rebuilt, the new one in a folder of its own."""

    def __init__(self, config: Configuration) -> None:
        self._config = config
        self._folder = config.folder
        self._local = threading.local()

    def current(self) -> Ledger:
        """This thread's connection.

        Raises:
            LibraryError: the ledger is missing, damaged, or another library's.
        """
        if not hasattr(self._local, "ledger"):
            self._local.ledger = self.open()
        ledger: Ledger = self._local.ledger
        return ledger

    def open(self) -> Ledger:
        """A new connection, which the caller closes.

        Raises:
            LibraryError: the ledger is missing, damaged, or another library's.
        """
        config = self._config
        if config.manifest is None or self._folder != config.folder:
            make_private_folder(self._folder)
            return Ledger(self._folder)
        return open_ledger_of(config.manifest, config.folder, config.save)

    def close(self) -> None:
        """Close this thread's connection; SQLite allows no other thread to."""
        if hasattr(self._local, "ledger"):
            self._local.ledger.close()
            del self._local.ledger

    @contextmanager
    def rebuilding(self) -> Iterator[Callable[[], None]]:
        """Use a new ledger in its own folder; the yielded function puts it in place.

        If that is not called, the next rebuild continues with it.
        """
        self._folder = self._config.folder / REBUILDING
        make_private_folder(self._folder)
        try:
            yield self._place
        finally:
            self.close()
            self._folder = self._config.folder

    def _place(self) -> None:
        self.close()
        place_ledger(self._folder, self._config.folder)
        self._folder = self._config.folder
