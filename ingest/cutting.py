"""How photos are cut, and what is cut: SAM's parameters and masks, in its own words."""

from __future__ import annotations

from dataclasses import dataclass, fields

from search.errors import UsageError
from search.records import Box, Mask, MaskOrigin, Record
from search.settings import Settings


@dataclass(frozen=True)
class MaskParameters:
    """SAM2AutomaticMaskGenerator's parameters under their own names, and limits by area."""

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
    def from_settings(cls, settings: Settings) -> MaskParameters:
        """Take the settings of the same names."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})


class CutMask(Record):
    """A mask as cut from a photo, at the photo's full size, in SAM's own words."""

    mask: Mask
    bbox_xywh: Box
    area_px: int
    predicted_iou: float
    stability_score: float
    point_xy: tuple[float, float] | None
    crop_box_xywh: Box
    candidate: int = 0  # which of the masks that the decoder gave for the prompt

    @property
    def origin(self) -> MaskOrigin:
        """The question that this mask answers; without a point, its box's corner stands for it."""
        left, top, right, bottom = (round(edge) for edge in self.crop_box_xywh.xyxy)
        point_xy = self.point_xy or (self.bbox_xywh.x, self.bbox_xywh.y)
        return MaskOrigin((left, top, right, bottom), point_xy, self.candidate)

    @property
    def area_fraction(self) -> float:
        """Part of the photo that the mask covers."""
        return self.area_px / (self.mask.size_wh[0] * self.mask.size_wh[1])


class Prompt(Record):
    """What to cut: points (label 1: inside, 0: outside), a box, a mask to refine, or a mix."""

    points_xy: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box_xywh: Box | None = None
    mask: Mask | None = None

    def checked(self, size_wh: tuple[int, int]) -> Prompt:
        """Return the prompt itself.

        Raises:
            UsageError: it is empty, its labels don't fit, or it lies outside the photo.
        """
        if not (self.points_xy or self.box_xywh or self.mask):
            raise UsageError("a prompt needs at least one point, a box or a mask")
        if len(self.labels) != len(self.points_xy) or not set(self.labels) <= {0, 1}:
            raise UsageError("every point needs a label: 1 for inside, 0 for outside")
        width, height = size_wh
        for x, y in self.points_xy:
            if not (0 <= x <= width and 0 <= y <= height):
                raise UsageError(f"point {x:g},{y:g} is outside the photo of {width} x {height}")
        if self.box_xywh is not None:
            x0, y0, x1, y1 = self.box_xywh.xyxy
            if not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and x0 < width and y0 < height):
                raise UsageError(
                    f"box {x0:g},{y0:g},{x1 - x0:g},{y1 - y0:g} covers nothing of the photo of "
                    f"{width} x {height} (a box is left,top,width,height)"
                )
        return self
