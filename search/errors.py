"""Every error that segsearch raises on purpose.

::

    SegsearchError
    ├── UsageError            the caller asked for something that makes no sense
    │   ├── UnknownIdError    no photo or segment has that id
    │   └── FilterError       a filter contradicts itself
    ├── PhotoError            one file can't be used; the rest can
    │   ├── UndecodableError  its bytes are not a picture that we read
    │   ├── TooLargeError     it is over the limit of pixels or bytes
    │   ├── TooSlowError      decoding it takes too long
    │   └── NoMaskError       nothing in it answers a prompt
    ├── ModelError            a model can't be had or can't be used
    │   └── HubError          the model hub can't be reached and the cache has no copy
    ├── LibraryError          the library folder can't be used as asked
    │   ├── MismatchError     its models or settings differ from those asked for
    │   ├── DamagedLedgerError  its ledger can't be read
    │   └── OwnedError        another process owns it and can't be spoken to
    ├── StoreError            the vector store failed
    │   ├── StoreUnreachableError  no answer from the Qdrant server
    │   ├── MissingIndexError  the collections of the library are not there
    │   ├── ForeignIndexError  the collections belong to another library
    │   ├── CrashingIndexError  reading the index ends the process
    │   └── DamagedError      what it keeps of a photo or segment makes no sense
    ├── AccessError           a key is missing, is wrong, or allows less than was asked
    └── BusyError             too much is going on now; a moment later it can be done

Each message says what happened, where, and what to do next.
"""


class SegsearchError(Exception):
    """The root: catch it to catch everything that segsearch raises on purpose."""


class UsageError(SegsearchError):
    """The caller asked for something that makes no sense."""


class UnknownIdError(UsageError):
    """No photo or segment has that id."""


class FilterError(UsageError):
    """A filter contradicts itself."""


class PhotoError(SegsearchError):
    """One file can't be used; the rest can."""


class UndecodableError(PhotoError):
    """A file's bytes are not a picture that segsearch reads."""


class TooLargeError(PhotoError):
    """A file is over the limit of pixels or bytes."""


class TooSlowError(PhotoError):
    """Decoding a file takes too long: on this machine, now."""


class NoMaskError(PhotoError):
    """Nothing in a photo answers a prompt: no mask has a pixel."""


class ModelError(SegsearchError):
    """A model can't be had or can't be used."""


class HubError(ModelError):
    """The model hub can't be reached and the cache has no copy."""


class LibraryError(SegsearchError):
    """The library folder can't be used as asked."""


class MismatchError(LibraryError):
    """The library was made with other models or settings than those asked for."""


class DamagedLedgerError(LibraryError):
    """The ledger's file can't be read as one."""


class OwnedError(LibraryError):
    """Another process owns the library and can't be spoken to."""


class StoreError(SegsearchError):
    """The vector store failed."""


class StoreUnreachableError(StoreError):
    """No answer came from the Qdrant server."""


class MissingIndexError(StoreError):
    """The collections of a library are not there, and were not to be created."""


class ForeignIndexError(StoreError):
    """The collections belong to another library."""


class CrashingIndexError(StoreError):
    """Reading the files of an embedded index ends the process: they are damaged."""


class DamagedError(StoreError):
    """What the store keeps of a photo or segment can't be understood."""


class AccessError(SegsearchError):
    """A key is missing, is wrong, or allows less than was asked for."""


class BusyError(SegsearchError):
    """Too much is going on now; a moment later it can be done."""
