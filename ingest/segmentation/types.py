"""Records of segmentation, with SAM's names: parameters, masks, prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from ingest.settings import IngestSettings
from search.errors import NoMaskError, UsageError
from search.masks.rle import runs_from_mask
from search.records import Box, Mask, MaskOrigin, Record


@dataclass(frozen=True)
class MaskParameters:
    """SAM2AutomaticMaskGenerator's parameters, limits of area, and adaptive points."""

    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    mask_threshold: float = 0.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0
    use_m2m: bool = False
    multimask_output: bool = True
    min_area_fraction: float = 0.0
    max_area_fraction: float = 1.0
    adaptive_points: bool = False

    @classmethod
    def from_settings(cls, settings: IngestSettings) -> MaskParameters:
        """Take the settings with the same names."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})


class SegmentedMask(Record):
    """A mask at the photo's full size, with the fields of SAM's annotations."""

    mask: Mask
    bbox_xywh: Box
    area_px: int
    predicted_iou: float
    stability_score: float
    point_xy: tuple[float, float] | None
    crop_box_xywh: Box
    candidate: int = 0  # index among the decoder's masks for the prompt

    @property
    def origin(self) -> MaskOrigin:
        """What the mask was predicted from; without a point, its box's corner is used."""
        left, top, right, bottom = (round(edge) for edge in self.crop_box_xywh.xyxy)
        point_xy = self.point_xy or (self.bbox_xywh.x, self.bbox_xywh.y)
        return MaskOrigin((left, top, right, bottom), point_xy, self.candidate)

    @property
    def area_fraction(self) -> float:
        """Fraction of the photo that the mask covers."""
        return self.area_px / (self.mask.size_wh[0] * self.mask.size_wh[1])


class Prompt(Record):
    """A prompt: points (label 1: inside, 0: outside), a box, a mask to refine, or several."""

    points_xy: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box_xywh: Box | None = None
    mask: Mask | None = None

    def checked(self, size_wh: tuple[int, int]) -> Prompt:
        """Validate the prompt and clip its box to the photo.

        Raises:
            UsageError: the prompt is empty, its labels don't match, or it is outside the photo.
        """
        if not (self.points_xy or self.box_xywh or self.mask):
            raise UsageError("a prompt needs at least one point, a box or a mask")
        if len(self.labels) != len(self.points_xy) or not set(self.labels) <= {0, 1}:
            raise UsageError("every point needs a label: 1 for inside, 0 for outside")
        if not (1 in self.labels or self.box_xywh or self.mask):
            raise UsageError(
                "points outside alone do not select anything: add a point inside, a box or a mask"
            )
        width, height = size_wh
        for x, y in self.points_xy:
            if not (0 <= x <= width and 0 <= y <= height):
                raise UsageError(f"point {x:g},{y:g} is outside the photo of {width} x {height}")
        if self.mask is not None:
            _check_fits(self.mask, size_wh)
        if self.box_xywh is None:
            return self
        return self.model_copy(update={"box_xywh": _clipped(self.box_xywh, size_wh)})


def _check_fits(mask: Mask, size_wh: tuple[int, int]) -> None:
    """Reject a mask that is empty or has another aspect ratio than the photo."""
    (width, height), (own_width, own_height) = size_wh, mask.size_wh
    if abs(own_width * height - own_height * width) > max(width, height):
        raise UsageError(
            f"a mask of {own_width} x {own_height} does not fit a photo of {width} x {height}"
        )
    if len(runs_from_mask(mask)) < 2:  # the first run is of the outside
        raise UsageError("the mask is empty: white is inside, black is outside")


def _clipped(box_xywh: Box, size_wh: tuple[int, int]) -> Box:
    """Clip a box to a photo.

    Raises:
        UsageError: nothing is left.
    """
    (x, y, w, h), (width, height) = box_xywh, size_wh
    x0, y0, x1, y1 = max(0.0, x), max(0.0, y), min(width, x + w), min(height, y + h)
    if not (x0 < x1 and y0 < y1):
        raise UsageError(
            f"box {x:g},{y:g},{w:g},{h:g} covers nothing of the photo of {width} x {height} (a box "
            "is left,top,width,height)"
        )
    return Box(x0, y0, x1 - x0, y1 - y0)


def with_pixels(masks: Sequence[SegmentedMask]) -> list[SegmentedMask]:
    """Drop empty masks.

    Raises:
        NoMaskError: all are empty.
    """
    found = [mask for mask in masks if mask.area_px > 0]
    if not found:
        raise NoMaskError("nothing could be segmented there; try another point, or a box")
    return found
