"""All errors that segsearch raises on purpose.

::

    SegsearchError
    ├── UsageError            invalid request or argument
    │   ├── UnknownIdError    no photo or segment has this id
    │   └── FilterError       a filter contradicts itself
    ├── PhotoError            one file can't be used; others can
    │   ├── UndecodableError  not an image in a supported format
    │   ├── TooLargeError     over the limit of pixels or bytes
    │   ├── TooSlowError      decoding takes too long
    │   └── NoMaskError       the mask for a prompt is empty
    ├── ModelError            a model can't be loaded or used
    │   └── HubError          the model hub is unreachable and the cache has no copy
    ├── LibraryError          the library folder can't be used as requested
    │   ├── MismatchError     its models or settings differ from the requested ones
    │   ├── DamagedLedgerError  its ledger can't be read
    │   └── OwnedError        another process has it open and doesn't serve it
    ├── StoreError            the vector store failed
    │   ├── StoreUnreachableError  no answer from the Qdrant server
    │   ├── MissingIndexError  the collections don't exist
    │   ├── ForeignIndexError  the collections belong to another library
    │   ├── CrashingIndexError  opening the embedded index crashes the process
    │   └── DamagedError      a stored payload can't be parsed
    ├── AccessError           an API key is missing, wrong, or has too few rights
    └── BusyError             overloaded; a retry may succeed

A message says what happened and where. What to do about it depends on who asks: `remedy` names it,
and the command line (`api.cli.remedies`) and HTTP (`api.http.remedies`) put it into words.
"""

from __future__ import annotations

from typing import Literal

Remedy = Literal[
    "check_qdrant",
    "check_qdrant_access",
    "full_precision",
    "lower_write_batch",
    "move_index_away",
    "newer_version",
    "other_collection_prefix",
    "other_device",
    "other_encoder",
    "other_library",
    "other_segmenter",
    "qdrant_url",
    "reembed",
    "restore_manifest",
    "share_index",
    "use_library_setting",
    "verify",
]


class SegsearchError(Exception):
    """Base of all errors below."""

    remedy: Remedy | None = None  # by default, of all errors of a class

    def __init__(self, message: str, *, remedy: Remedy | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy or self.remedy


class UsageError(SegsearchError):
    """A request or an argument is invalid."""


class UnknownIdError(UsageError):
    """No photo or segment has this id."""


class FilterError(UsageError):
    """A filter contradicts itself."""


class PhotoError(SegsearchError):
    """One file can't be used; others can."""


class UndecodableError(PhotoError):
    """A file is not an image in a supported format."""


class TooLargeError(PhotoError):
    """A file is over the limit of pixels or bytes."""


class TooSlowError(PhotoError):
    """Decoding a file takes too long; on another machine or at another time it may not."""


class NoMaskError(PhotoError):
    """All masks for a prompt are empty."""


class ModelError(SegsearchError):
    """A model can't be loaded or used."""


class HubError(ModelError):
    """The model hub is unreachable and the cache has no copy."""


class LibraryError(SegsearchError):
    """The library folder can't be used as requested."""


class MismatchError(LibraryError):
    """A library was made with other models or settings than the requested ones."""

    remedy: Remedy | None = "use_library_setting"

    def __init__(
        self,
        message: str,
        *,
        setting: str | None = None,
        expected: str | None = None,
        actual: str | None = None,
        remedy: Remedy | None = None,
    ) -> None:
        """Describe a mismatch.

        Args:
            message: what differs, and where.
            setting: name of the setting that differs.
            expected: its value in the library.
            actual: the value that was requested.
            remedy: what to do about it.
        """
        super().__init__(message, remedy=remedy)
        self.setting, self.expected, self.actual = setting, expected, actual


class DamagedLedgerError(LibraryError):
    """The ledger is not a readable SQLite database."""


class OwnedError(LibraryError):
    """Another process has the library open and doesn't serve it."""


class StoreError(SegsearchError):
    """The vector store failed."""


class StoreUnreachableError(StoreError):
    """The Qdrant server does not answer."""


class MissingIndexError(StoreError):
    """The collections of a library don't exist."""


class ForeignIndexError(StoreError):
    """The collections belong to another library."""

    remedy: Remedy | None = "other_collection_prefix"


class CrashingIndexError(StoreError):
    """Opening the embedded index crashes the process: its files are damaged."""

    remedy: Remedy | None = "move_index_away"


class DamagedError(StoreError):
    """A stored payload can't be parsed."""

    remedy: Remedy | None = "verify"


class AccessError(SegsearchError):
    """An API key is missing, wrong, or has too few rights."""


class BusyError(SegsearchError):
    """The server is overloaded; a retry may succeed."""
