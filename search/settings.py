"""Settings of the index and the models.

Each layer describes its own: `IngestSettings` inherits these, and `api.settings.Settings` all of
them, each one a flag and an environment variable.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo

from search.records import is_text

CropRecipe = Literal["fusion", "context", "tight", "masked", "blur"]
Precision = Literal["float32", "float16", "bfloat16"]
Group = Literal["library", "models", "masks", "ingest", "server", "serve"]

DEFAULT_SEGMENTER = "facebook/sam2.1-hiera-small"
DEFAULT_ENCODER = "openai/clip-vit-base-patch32"
# Versions of the bundled pair, the newest last. Libraries remember which they were made with:
# vectors of two encoders can't be compared. Each encoder is kept, of segmenters the newest alone.
STARTER_VERSIONS = ("starter-1", "starter-2")
NEWEST_STARTER = STARTER_VERSIONS[-1]


def setting(group: Group, description: str, **limits: Any) -> Any:  # noqa: ANN401  (pydantic's own)
    """A field with its description and the group of commands that take it as a flag."""
    return Field(description=description, json_schema_extra={"group": group}, **limits)


def _newest_starter(name: str | None) -> str | None:
    return NEWEST_STARTER if name == "starter" else name


def group_of_field(field: FieldInfo) -> Group:
    """The group of a setting."""
    assert isinstance(field.json_schema_extra, dict)
    group: Group = field.json_schema_extra["group"]  # type: ignore[assignment]
    return group


def _checked_devices(text: str) -> str:
    known = all(re.fullmatch(r"cuda(:\d+)?|mps|cpu", name) for name in text.split(","))
    if text != "auto" and not known:
        raise ValueError("it should be 'auto', 'cuda', 'cuda:1', 'mps' or 'cpu', or some of them")
    return text


class SearchSettings(BaseModel):
    """Where vectors are stored and which models make them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # library
    library: Annotated[Path, setting("library", "The library folder.")] = Path("segsearch-library")
    qdrant: Annotated[
        str | None,
        setting("library", "Keep vectors on this Qdrant server instead of in the library folder."),
    ] = None
    qdrant_api_key: Annotated[
        str | None, setting("server", "API key of the Qdrant server (better in the environment).")
    ] = None

    # models
    models: Annotated[
        Literal["default", "starter"],
        setting(
            "models", "A pair of models: `default` from the hub, or the bundled `starter` pair."
        ),
    ] = "default"
    segmenter: Annotated[
        str | None,
        AfterValidator(_newest_starter),
        setting("models", f"SAM 2: hub name or checkpoint file [{DEFAULT_SEGMENTER}]."),
    ] = None
    segmenter_config: Annotated[
        str | None,
        setting("models", "Config for a checkpoint file, as named in the package sam2."),
    ] = None
    encoder: Annotated[
        str | None,
        AfterValidator(_newest_starter),
        setting("models", f"CLIP-like encoder: hub name or folder [{DEFAULT_ENCODER}]."),
    ] = None
    device: Annotated[
        str,
        setting(
            "models",
            "Where models run: auto, cuda, cuda:1, mps, cpu. Ingest uses several: cuda:0,cuda:1.",
        ),
        AfterValidator(_checked_devices),
    ] = "auto"
    precision: Annotated[
        Literal["auto", Precision],
        setting("models", "auto: float16 on CUDA, float32 elsewhere."),
    ] = "auto"
    crop_recipe: Annotated[CropRecipe, setting("models", "What the encoder sees of a segment.")] = (
        "fusion"
    )

    # Qdrant server
    shard_number: Annotated[int, setting("server", "Shards of each collection.", ge=1)] = 1
    replication_factor: Annotated[int, setting("server", "Copies of each shard.", ge=1)] = 1
    quantization: Annotated[
        Literal["none", "int8", "binary"],
        setting("server", "Quantise vectors in memory; results are rescored with the originals."),
    ] = "none"
    vectors_on_disk: Annotated[bool, setting("server", "Keep full vectors on disk.")] = False
    collection_prefix: Annotated[
        str, setting("server", "Collections are named PREFIX_photos and PREFIX_segments.")
    ] = "segsearch"
    grpc: Annotated[bool, setting("server", "Speak gRPC to the server (port 6334).")] = False
    write_batch: Annotated[int, setting("server", "Points per write.", ge=1)] = 256
    qdrant_timeout_s: Annotated[
        int, setting("server", "Take it as no answer if there is none for this long.", ge=1)
    ] = 20
    retry_wait_s: Annotated[
        float,
        setting(
            "server", "Wait this long for a server that is away, when photos are written.", ge=0
        ),
    ] = 60.0

    @field_validator("*")
    @classmethod
    def _is_text(cls, value: object) -> object:
        """Refuse lone surrogates in texts; paths may have them."""
        if isinstance(value, str) and not is_text(value):
            raise ValueError("it should be text in UTF-8")
        return value
