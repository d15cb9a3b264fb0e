"""All settings of segsearch, in one flat namespace.

A value comes from the first of: a command-line flag, the environment (prefix `SEGSEARCH_`), a
settings file (`api.library.config_files`), the manifest of the library (`search.manifest`), the
default below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ingest.settings import IngestSettings
from search.errors import UsageError
from search.settings import Group, group_of_field, setting


class Settings(IngestSettings, BaseSettings):
    """The settings of all layers and of the server; each is a flag of the commands that use it."""

    model_config = SettingsConfigDict(
        env_prefix="SEGSEARCH_",
        env_ignore_empty=True,  # `SEGSEARCH_DEVICE=` is how compose files say: not set
        extra="forbid",
        frozen=True,
    )

    host: Annotated[str, setting("serve", "Address to listen on.")] = "127.0.0.1"
    trust_network: Annotated[
        bool,
        setting(
            "serve",
            "Let --host be more than loopback, without keys: whoever reaches the port reads and "
            "changes the library. For a container whose port is published on loopback.",
        ),
    ] = False
    port: Annotated[
        int, setting("serve", "Port to listen on; 0 picks a free one.", ge=0, le=65535)
    ] = 8765
    allowed_hosts: Annotated[
        str | None,
        setting(
            "serve",
            "Names by which clients reach the server, besides its address and localhost; "
            "separated by commas.",
        ),
    ] = None
    api_keys: Annotated[
        str | None,
        setting("serve", "Keys that allow everything; separated by commas (better in a file)."),
    ] = None
    api_keys_file: Annotated[
        Path | None, setting("serve", "A file with such keys, one a line; # begins a comment.")
    ] = None
    read_keys: Annotated[
        str | None, setting("serve", "Keys that allow to search and to look, and nothing else.")
    ] = None
    read_keys_file: Annotated[
        Path | None, setting("serve", "A file with such keys, one a line.")
    ] = None
    request_timeout_s: Annotated[
        float, setting("serve", "A request that is not answered by then is given up.", gt=0)
    ] = 60.0
    stop_timeout_s: Annotated[
        int, setting("serve", "When stopping, requests have this long to end.", ge=0)
    ] = 10
    log_format: Annotated[
        Literal["text", "json"], setting("serve", "How lines of the log look, on stderr.")
    ] = "text"
    log_requests: Annotated[bool, setting("serve", "Log every request, too.")] = False
    max_upload_bytes: Annotated[
        int, setting("serve", "Largest picture that a client may send.", gt=0)
    ] = 50_000_000
    max_upload_pixels: Annotated[
        int,
        setting(
            "serve",
            "Most pixels of a picture that a client may send, and of all in one search.",
            gt=0,
        ),
    ] = 100_000_000

    picture_cache_bytes: Annotated[
        int,
        setting("serve", "Most bytes of small pictures kept in the library folder; 0: none.", ge=0),
    ] = 1_000_000_000

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment."""
        return init_settings, env_settings

    def with_defaults(self, defaults: dict[str, Any]) -> Settings:
        """A copy with `defaults` for all settings that were not given.

        Raises:
            UsageError: given settings contradict them.
        """
        unset = {k: v for k, v in defaults.items() if k not in self.model_fields_set}
        chosen = self.model_dump(include=self.model_fields_set)
        try:
            return Settings.model_validate({**chosen, **unset}) if unset else self
        except ValidationError as error:
            said = "; ".join(
                f"{'.'.join(map(str, each['loc']))} {each['msg']}".strip()
                for each in error.errors()
            )
            raise UsageError(
                f"these settings don't go with those of the library: {said}"
            ) from error


def group_of(name: str) -> Group:
    """The group of a setting, by its name."""
    return group_of_field(Settings.model_fields[name])
