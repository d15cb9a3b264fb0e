"""All settings in one class.

A value comes from, first to last: a command-line flag, the environment (prefix `SEGSEARCH_`),
a file of settings (`api.library.config_files`), the default below. What a library was made with
stands in its manifest and goes before the defaults (see `search.manifest`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from search.errors import UsageError
from search.records import is_text

CropRecipe = Literal["fusion", "context", "tight", "masked", "blur"]
Precision = Literal["float32", "float16", "bfloat16"]
Group = Literal["library", "models", "masks", "ingest", "server", "serve"]

# Of the settings of masks: a matter of memory, and one that only stands for a number of points.
NOT_REMEMBERED = frozenset(("points_per_batch", "effort"))
MAX_LOGIT = 32.0  # SAM clamps its masks' logits to this
MAX_CROP_LAYERS = 4  # layer n looks at 4^n crops: four make 340 times the work
DEFAULT_SEGMENTER = "facebook/sam2.1-hiera-small"
DEFAULT_ENCODER = "openai/clip-vit-base-patch32"


def _in(group: Group, description: str, **limits: Any) -> Any:  # noqa: ANN401  (pydantic's own)
    """Describe a setting and name the group that a command takes it with."""
    return Field(description=description, json_schema_extra={"group": group}, **limits)


def _checked_devices(text: str) -> str:
    known = all(re.fullmatch(r"cuda(:\d+)?|mps|cpu", name) for name in text.split(","))
    if text != "auto" and not known:
        raise ValueError("it should be 'auto', 'cuda', 'cuda:1', 'mps' or 'cpu', or some of them")
    return text


class Settings(BaseSettings):
    """Every knob, with its default and its meaning; each is a flag of the commands that use it."""

    model_config = SettingsConfigDict(
        env_prefix="SEGSEARCH_",
        env_ignore_empty=True,  # `SEGSEARCH_DEVICE=` is how compose files say: not set
        extra="forbid",
        frozen=True,
    )

    # library
    library: Annotated[Path, _in("library", "The library folder.")] = Path("segsearch-library")
    qdrant: Annotated[
        str | None,
        _in("library", "Keep vectors on this Qdrant server instead of in the library folder."),
    ] = None
    qdrant_api_key: Annotated[
        str | None, _in("server", "API key of the Qdrant server (better in the environment).")
    ] = None

    # models
    models: Annotated[
        Literal["default", "starter"],
        _in("models", "A pair of models: `default` from the hub, or the bundled `starter` pair."),
    ] = "default"
    segmenter: Annotated[
        str | None, _in("models", f"SAM 2: hub name or checkpoint file [{DEFAULT_SEGMENTER}].")
    ] = None
    segmenter_config: Annotated[
        str | None,
        _in("models", "Config for a checkpoint file, as named in the package sam2."),
    ] = None
    encoder: Annotated[
        str | None, _in("models", f"CLIP-like encoder: hub name or folder [{DEFAULT_ENCODER}].")
    ] = None
    device: Annotated[
        str,
        _in(
            "models",
            "Where models run: auto, cuda, cuda:1, mps, cpu. Ingest uses several: cuda:0,cuda:1.",
        ),
        AfterValidator(_checked_devices),
    ] = "auto"
    precision: Annotated[
        Literal["auto", Precision],
        _in("models", "auto: float16 on CUDA, float32 elsewhere."),
    ] = "auto"
    crop_recipe: Annotated[CropRecipe, _in("models", "What the encoder sees of a segment.")] = (
        "fusion"
    )

    effort: Annotated[
        Literal["quick", "standard", "thorough"],
        _in(
            "masks",
            "quick: half the points a side, a quarter of the time. thorough: twice the points, "
            "four times the time (docs/performance.md says what each finds).",
        ),
    ] = "standard"
    # SAM2AutomaticMaskGenerator's own names and defaults
    points_per_side: Annotated[int, _in("masks", "Grid points along each side.", gt=0, le=1024)] = (
        32
    )
    points_per_batch: Annotated[
        int, _in("masks", "Points decoded at once (fewer for large photos).", gt=0)
    ] = 64
    pred_iou_thresh: Annotated[
        float, _in("masks", "Keep masks predicted better than this.", ge=0, lt=1)
    ] = 0.8
    stability_score_thresh: Annotated[
        float, _in("masks", "Keep masks at least this stable.", ge=0, le=1)
    ] = 0.95
    stability_score_offset: Annotated[
        float, _in("masks", "Shift of the cutoff when stability is measured.", ge=0, le=MAX_LOGIT)
    ] = 1.0
    mask_threshold: Annotated[
        float, _in("masks", "Logits above this are inside.", ge=-MAX_LOGIT, le=MAX_LOGIT)
    ] = 0.0
    box_nms_thresh: Annotated[
        float, _in("masks", "Box IoU over which the weaker of two masks goes.", ge=0, le=1)
    ] = 0.7
    crop_n_layers: Annotated[
        int, _in("masks", "Layers of crops looked at besides.", ge=0, le=MAX_CROP_LAYERS)
    ] = 0
    crop_nms_thresh: Annotated[float, _in("masks", "The same between crops.", ge=0, le=1)] = 0.7
    crop_overlap_ratio: Annotated[
        float, _in("masks", "Overlap of crops, as part of the photo.", ge=0, lt=1)
    ] = 512 / 1500
    crop_n_points_downscale_factor: Annotated[
        int, _in("masks", "Fewer points per side in layer n: divided by this to the n.", ge=1)
    ] = 1
    min_mask_region_area: Annotated[
        int, _in("masks", "Fill holes and drop islands smaller than this (pixels).", ge=0)
    ] = 0
    use_m2m: Annotated[bool, _in("masks", "Refine each mask once with itself as prompt.")] = False
    multimask_output: Annotated[bool, _in("masks", "Three candidates a point.")] = True
    adaptive_points: Annotated[
        bool, _in("masks", "Start with a coarse grid; finer only where no mask was found.")
    ] = False
    min_area_fraction: Annotated[
        float, _in("masks", "Drop segments smaller than this part of the photo.", ge=0, le=1)
    ] = 0.0005
    max_area_fraction: Annotated[
        float, _in("masks", "Drop segments larger than this part of the photo.", ge=0, le=1)
    ] = 0.95
    mask_long_side: Annotated[
        int, _in("masks", "Masks are stored at this long side (pixels).", ge=64)
    ] = 1024

    # ingest
    decode_ahead: Annotated[
        int, _in("ingest", "Photos decoded ahead of the segmenter.", ge=1, le=64)
    ] = 4
    decode_workers: Annotated[
        int,
        _in(
            "ingest",
            "Processes that decode photos; 0: none, a file that crashes a decoder ends the run.",
            ge=0,
        ),
    ] = 2
    decode_timeout_s: Annotated[
        float,
        _in(
            "ingest",
            "Give up a file that takes more seconds of a processor to decode, or waits for ten "
            "times as long; the next run tries it once more.",
            gt=0,
        ),
    ] = 10.0
    whole_first_from: Annotated[
        int,
        _in(
            "ingest",
            "With so many new files, whole photos can be searched before any is cut; 0: never.",
            ge=0,
        ),
    ] = 24
    embed_batch: Annotated[int, _in("ingest", "Crops encoded at once.", ge=1)] = 64
    exclude: Annotated[
        str | None,
        _in(
            "ingest",
            "Leave out files and folders that match these patterns (as in .gitignore); separated "
            "by commas.",
        ),
    ] = None
    follow_links: Annotated[
        bool,
        _in("ingest", "Follow links that lead out of the folders, too."),
    ] = False
    max_pixels: Annotated[int, _in("ingest", "Skip pictures with more pixels than this.", gt=0)] = (
        200_000_000
    )
    max_bytes: Annotated[int, _in("ingest", "Skip files with more bytes than this.", gt=0)] = (
        500_000_000
    )

    # Qdrant server
    shard_number: Annotated[int, _in("server", "Shards of each collection.", ge=1)] = 1
    replication_factor: Annotated[int, _in("server", "Copies of each shard.", ge=1)] = 1
    quantization: Annotated[
        Literal["none", "int8", "binary"],
        _in("server", "Quantise vectors in memory; results are rescored with the originals."),
    ] = "none"
    vectors_on_disk: Annotated[bool, _in("server", "Keep full vectors on disk.")] = False
    collection_prefix: Annotated[
        str, _in("server", "Collections are named PREFIX_photos and PREFIX_segments.")
    ] = "segsearch"
    grpc: Annotated[bool, _in("server", "Speak gRPC to the server (port 6334).")] = False
    write_batch: Annotated[int, _in("server", "Points per write.", ge=1)] = 256
    qdrant_timeout_s: Annotated[
        int, _in("server", "Take it as no answer if there is none for this long.", ge=1)
    ] = 20
    retry_wait_s: Annotated[
        float,
        _in("server", "Wait this long for a server that is away, when photos are written.", ge=0),
    ] = 60.0

    # serve
    host: Annotated[str, _in("serve", "Address to listen on.")] = "127.0.0.1"
    trust_network: Annotated[
        bool,
        _in(
            "serve",
            "Let --host be more than loopback, without keys: whoever reaches the port reads and "
            "changes the library. For a container whose port is published on loopback.",
        ),
    ] = False
    port: Annotated[int, _in("serve", "Port to listen on; 0 picks a free one.", ge=0, le=65535)] = (
        8765
    )
    allowed_hosts: Annotated[
        str | None,
        _in(
            "serve",
            "Names by which clients reach the server, besides its address and localhost; "
            "separated by commas.",
        ),
    ] = None
    api_keys: Annotated[
        str | None,
        _in("serve", "Keys that allow everything; separated by commas (better in a file)."),
    ] = None
    api_keys_file: Annotated[
        Path | None, _in("serve", "A file with such keys, one a line; # begins a comment.")
    ] = None
    read_keys: Annotated[
        str | None, _in("serve", "Keys that allow to search and to look, and nothing else.")
    ] = None
    read_keys_file: Annotated[Path | None, _in("serve", "A file with such keys, one a line.")] = (
        None
    )
    request_timeout_s: Annotated[
        float, _in("serve", "A request that is not answered by then is given up.", gt=0)
    ] = 60.0
    stop_timeout_s: Annotated[
        int, _in("serve", "When stopping, requests have this long to end.", ge=0)
    ] = 10
    log_format: Annotated[
        Literal["text", "json"], _in("serve", "How lines of the log look, on stderr.")
    ] = "text"
    log_requests: Annotated[bool, _in("serve", "Log every request, too.")] = False
    max_upload_bytes: Annotated[
        int, _in("serve", "Largest picture that a client may send.", gt=0)
    ] = 50_000_000
    max_upload_pixels: Annotated[
        int,
        _in(
            "serve",
            "Most pixels of a picture that a client may send, and of all in one search.",
            gt=0,
        ),
    ] = 100_000_000

    picture_cache_bytes: Annotated[
        int,
        _in("serve", "Most bytes of small pictures kept in the library folder; 0: none.", ge=0),
    ] = 1_000_000_000

    @property
    def exclude_patterns(self) -> tuple[str, ...]:
        """The patterns of `exclude`, one by one."""
        return tuple(part.strip() for part in (self.exclude or "").split(",") if part.strip())

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

    @field_validator("*")
    @classmethod
    def _is_text(cls, value: object) -> object:
        """Refuse bytes that are no text where a text is wanted; paths may have them."""
        if isinstance(value, str) and not is_text(value):
            raise ValueError("it should be text in UTF-8")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if self.min_area_fraction > self.max_area_fraction:
            raise ValueError(
                f"min_area_fraction ({self.min_area_fraction:g}) must not be larger than "
                f"max_area_fraction ({self.max_area_fraction:g})"
            )
        return self

    def masks(self) -> dict[str, Any]:
        """Return the settings that decide which masks a photo gets, by name."""
        names = {name for name in type(self).model_fields if group_of(name) == "masks"}
        return self.model_dump(include=names - NOT_REMEMBERED)

    def with_defaults(self, defaults: dict[str, Any]) -> Settings:
        """Return a copy in which `defaults` hold wherever nothing was set on purpose.

        Raises:
            UsageError: what was set does not go with them.
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
    """Return the group of a setting."""
    extra = Settings.model_fields[name].json_schema_extra
    assert isinstance(extra, dict)
    group: Group = extra["group"]  # type: ignore[assignment]
    return group
