"""The file segsearch.toml, in the encodings that editors save it in."""

from __future__ import annotations

import tomllib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from typing import Any

from pydantic_settings import TomlConfigSettingsSource


class TomlFile(TomlConfigSettingsSource):
    """A settings file, also as editors of Windows save it."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return what a file says.

        Raises:
            TOMLDecodeError: it is no TOML, or no text in UTF-8 or UTF-16.
        """
        content = file_path.read_bytes()
        encoding = "utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
        try:
            return tomllib.loads(content.decode(encoding))
        except UnicodeDecodeError as error:
            raise tomllib.TOMLDecodeError("it is no text in UTF-8: save it as such") from error
