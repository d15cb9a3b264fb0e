"""API keys: which there are and what each allows. Only their hashes are kept."""

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

MIN_KEY_CHARS = 16  # what can be guessed is no key; a UUID has 36, a line of HOW_TO_MAKE_ONE 43
HOW_TO_MAKE_ONE = 'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'


class Access(IntEnum):
    """What a key allows; more includes less."""

    READ = 1  # to search and to look
    FULL = 2  # to add and to remove, too


@dataclass(frozen=True)
class Keyring:
    """All keys of a server, as hashes, each with what it allows; an empty one lets everybody in."""

    keys: tuple[tuple[bytes, Access], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.keys)

    def access(self, key: str) -> Access | None:
        """Return what a key allows, None if there is no such key; it takes as long for any key."""
        sent = digest(key)
        found = [access for known, access in self.keys if hmac.compare_digest(known, sent)]
        return max(found, default=None)

    def with_key(self, key: str, access: Access) -> Keyring:
        """Return a keyring with one key more."""
        return Keyring((*self.keys, (digest(key), access)))

    def __str__(self) -> str:
        full = sum(access is Access.FULL for _, access in self.keys)
        return f"{full} full, {len(self.keys) - full} read-only"


def digest(secret: str) -> bytes:
    """Return the SHA-256 of a secret: as long for all, and useless to who finds it."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def keyring_from_settings(settings: Settings) -> Keyring:
    """Return the keys that the settings and the files that they name hold.

    Raises:
        UsageError: a file can't be read or holds no key, a key is too short, or stands for two
            kinds of access.
    """
    full = {*_keys("api_keys", settings.api_keys), *_from_file("api_keys_file", settings)}
    read = {*_keys("read_keys", settings.read_keys), *_from_file("read_keys_file", settings)}
    if full & read:
        raise UsageError("a key stands in api_keys and in read_keys: it can be one of them only")
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
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"{name}: {path} can't be read: {reason}") from error
    return _keys(f"{name} {path}", ",".join(line.split("#")[0] for line in lines))


def _keys(where: str, text: str | None) -> list[str]:
    """Return the keys in a text; what is wrong with one is said without showing it."""
    if text is None:
        return []
    keys = re.findall(r"[^,\s]+", text)
    if not keys:  # or what came out empty would open the door
        raise UsageError(f"{where}: it holds no key. Make one: {HOW_TO_MAKE_ONE}")
    if any(len(key) < MIN_KEY_CHARS for key in keys):
        raise UsageError(
            f"{where}: a key has less than {MIN_KEY_CHARS} characters and could be guessed. "
            f"Make a better one: {HOW_TO_MAKE_ONE}"
        )
    if not all(key.isascii() and key.isprintable() for key in keys):
        raise UsageError(f"{where}: a key may hold ASCII characters only, as headers do")
    return keys
