"""API keys and their access. Only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from api.settings import Settings
from search.errors import UsageError

MIN_KEY_CHARS = 16  # a UUID has 36, a key made by HOW_TO_MAKE_ONE 43
HOW_TO_MAKE_ONE = 'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'


class Access(IntEnum):
    """Access levels; a higher one includes the lower one."""

    READ = 1  # search and view
    FULL = 2  # also add and remove


@dataclass(frozen=True)
class Keyring:
    """All keys of a server as hashes, each with its access; an empty keyring lets everybody in."""

    keys: tuple[tuple[bytes, Access], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.keys)

    def access(self, key: str) -> Access | None:
        """The access of a key, None if unknown; in constant time."""
        sent = digest(key)
        matching = [access for known, access in self.keys if hmac.compare_digest(known, sent)]
        return max(matching, default=None)

    def with_key(self, key: str, access: Access) -> Keyring:
        """A copy with another key."""
        return Keyring((*self.keys, (digest(key), access)))

    def __str__(self) -> str:
        full = sum(access is Access.FULL for _, access in self.keys)
        return f"{full} full, {len(self.keys) - full} read-only"


def digest(secret: str) -> bytes:
    """The SHA-256 of a secret."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def keyring_from_settings(settings: Settings) -> Keyring:
    """The keys of the settings and of the key files.

    Raises:
        UsageError: a file can't be read or holds no key, a key is too short, or a key is listed
            with both kinds of access.
    """
    full = {*_keys("api_keys", settings.api_keys), *_from_file("api_keys_file", settings)}
    read = {*_keys("read_keys", settings.read_keys), *_from_file("read_keys_file", settings)}
    if full & read:
        raise UsageError("the same key is in api_keys and in read_keys: choose one")
    keyring = Keyring()
    for access, keys in (Access.FULL, full), (Access.READ, read):
        for key in sorted(keys):
            keyring = keyring.with_key(key, access)
    return keyring


def _from_file(name: str, settings: Settings) -> Iterable[str]:
    path: Path | None = getattr(settings, name)
    if path is None:
        return ()
    try:
        lines = path.expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"{name}: {path} can't be read: {reason}") from error
    return _keys(f"{name} {path}", ",".join(line.split("#")[0] for line in lines))


def _keys(where: str, text: str | None) -> list[str]:
    """Parse and check keys; error messages never contain a key."""
    if text is None:
        return []
    keys = re.findall(r"[^,\s]+", text)
    if not keys:  # an empty keyring would let everybody in
        raise UsageError(f"{where}: it holds no key. Make one: {HOW_TO_MAKE_ONE}")
    if any(len(key) < MIN_KEY_CHARS for key in keys):
        raise UsageError(
            f"{where}: a key has fewer than {MIN_KEY_CHARS} characters and could be guessed. "
            f"Make a better one: {HOW_TO_MAKE_ONE}"
        )
    if not all(key.isascii() and key.isprintable() for key in keys):
        raise UsageError(f"{where}: a key may only hold ASCII characters, as headers do")
    return keys
