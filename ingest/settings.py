"""Settings of decoding, segmentation and ingest."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import model_validator

from search.settings import SearchSettings, group_of_field, setting

# Mask settings that a library does not store: memory use, and a shorthand for points_per_side.
NOT_STORED = frozenset(("points_per_batch", "effort"))
MAX_LOGIT = 32.0  # SAM clamps mask logits to this
MAX_CROP_LAYERS = 4  # layer n has 4^n crops: four layers are 340 times the work


class IngestSettings(SearchSettings):
    """How photos are decoded and segmented, and how many at once."""

    effort: Annotated[
        Literal["quick", "standard", "thorough"],
        setting(
            "masks",
            "quick: half the points a side, a quarter of the time. thorough: twice the points, "
            "four times the time (docs/performance.md says what each finds).",
        ),
    ] = "standard"
    # SAM2AutomaticMaskGenerator's own names and defaults
    points_per_side: Annotated[
        int, setting("masks", "Grid points along each side.", gt=0, le=1024)
    ] = 32
    points_per_batch: Annotated[
        int, setting("masks", "Points decoded at once (fewer for large photos).", gt=0)
    ] = 64
    pred_iou_thresh: Annotated[
        float, setting("masks", "Keep masks predicted better than this.", ge=0, lt=1)
    ] = 0.8
    stability_score_thresh: Annotated[
        float, setting("masks", "Keep masks at least this stable.", ge=0, le=1)
    ] = 0.95
    stability_score_offset: Annotated[
        float,
        setting("masks", "Shift of the cutoff when stability is measured.", ge=0, le=MAX_LOGIT),
    ] = 1.0
    mask_threshold: Annotated[
        float, setting("masks", "Logits above this are inside.", ge=-MAX_LOGIT, le=MAX_LOGIT)
    ] = 0.0
    box_nms_thresh: Annotated[
        float, setting("masks", "Box IoU over which the weaker of two masks goes.", ge=0, le=1)
    ] = 0.7
    crop_n_layers: Annotated[
        int, setting("masks", "Layers of crops looked at besides.", ge=0, le=MAX_CROP_LAYERS)
    ] = 0
    crop_nms_thresh: Annotated[float, setting("masks", "The same between crops.", ge=0, le=1)] = 0.7
    crop_overlap_ratio: Annotated[
        float, setting("masks", "Overlap of crops, as part of the photo.", ge=0, lt=1)
    ] = 512 / 1500
    crop_n_points_downscale_factor: Annotated[
        int, setting("masks", "Fewer points per side in layer n: divided by this to the n.", ge=1)
    ] = 1
    min_mask_region_area: Annotated[
        int, setting("masks", "Fill holes and drop islands smaller than this (pixels).", ge=0)
    ] = 0
    use_m2m: Annotated[bool, setting("masks", "Refine each mask once with itself as prompt.")] = (
        False
    )
    multimask_output: Annotated[bool, setting("masks", "Three candidates a point.")] = True
    adaptive_points: Annotated[
        bool, setting("masks", "Start with a coarse grid; finer only where no mask was found.")
    ] = False
    min_area_fraction: Annotated[
        float, setting("masks", "Drop segments smaller than this part of the photo.", ge=0, le=1)
    ] = 0.0005
    max_area_fraction: Annotated[
        float, setting("masks", "Drop segments larger than this part of the photo.", ge=0, le=1)
    ] = 0.95
    mask_long_side: Annotated[
        int, setting("masks", "Masks are stored at this long side (pixels).", ge=64)
    ] = 1024

    # ingest
    decode_ahead: Annotated[
        int, setting("ingest", "Photos decoded ahead of the segmenter.", ge=1, le=64)
    ] = 4
    decode_workers: Annotated[
        int,
        setting(
            "ingest",
            "Processes that decode photos; 0: none, a file that crashes a decoder ends the run.",
            ge=0,
        ),
    ] = 2
    decode_timeout_s: Annotated[
        float,
        setting(
            "ingest",
            "Give up a file that takes more seconds of a processor to decode, or waits for ten "
            "times as long; the next run tries it once more.",
            gt=0,
        ),
    ] = 10.0
    whole_first_from: Annotated[
        int,
        setting(
            "ingest",
            "With so many new files, whole photos can be searched before any is cut; 0: never.",
            ge=0,
        ),
    ] = 24
    embed_batch: Annotated[int, setting("ingest", "Crops encoded at once.", ge=1)] = 64
    exclude: Annotated[
        str | None,
        setting(
            "ingest",
            "Leave out files and folders that match these patterns (as in .gitignore); separated "
            "by commas.",
        ),
    ] = None
    follow_links: Annotated[
        bool,
        setting("ingest", "Follow links that lead out of the folders, too."),
    ] = False
    max_pixels: Annotated[
        int, setting("ingest", "Skip pictures with more pixels than this.", gt=0)
    ] = 200_000_000
    max_bytes: Annotated[int, setting("ingest", "Skip files with more bytes than this.", gt=0)] = (
        500_000_000
    )

    @property
    def exclude_patterns(self) -> tuple[str, ...]:
        """The patterns in `exclude`."""
        return tuple(part.strip() for part in (self.exclude or "").split(",") if part.strip())

    @model_validator(mode="after")
    def _fits_together(self) -> IngestSettings:
        if self.min_area_fraction > self.max_area_fraction:
            raise ValueError(
                f"min_area_fraction ({self.min_area_fraction:g}) must not be larger than "
                f"max_area_fraction ({self.max_area_fraction:g})"
            )
        return self

    def masks(self) -> dict[str, Any]:
        """The settings that decide which masks a photo gets, by name."""
        fields = type(self).model_fields.items()
        names = {name for name, field in fields if group_of_field(field) == "masks"}
        return self.model_dump(include=names - NOT_STORED)
