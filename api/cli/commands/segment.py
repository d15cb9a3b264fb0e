"""The command that segments one photo, as a whole or by a prompt: segment."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.command import StrictCommand, refuse_unused
from api.cli.options import force_option, names_of_group, settings_options
from api.cli.output import echo_json
from api.schemas.parsing import box_from_text, point_from_text
from api.schemas.prompts import PromptIn
from api.services.outputs import check_outputs, numbered, write_outputs
from api.settings import Settings
from search.errors import UsageError

if TYPE_CHECKING:
    from ingest.segmentation.types import SegmentedMask
    from search.records import Mask, RgbImage

INSIDE_LEVEL = 128  # gray level of a mask image from which a pixel is inside


@click.command(cls=StrictCommand)
@click.argument("photo", type=click.Path(path_type=Path))
@click.option(
    "--point",
    "points",
    multiple=True,
    metavar="X,Y[,0]",
    help="A point inside the segment (0: outside).",
)
@click.option("--box", metavar="X,Y,W,H", help="A box around the segment.")
@click.option(
    "--mask",
    type=click.Path(path_type=Path),
    metavar="MASK.png",
    help="A mask to refine (white is inside).",
)
@click.option(
    "--candidates",
    type=click.Choice(["1", "3"]),
    default="3",
    help="Number of masks for a prompt.",
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="Print the masks as one JSON document.")
@click.option(
    "--overlay",
    type=click.Path(path_type=Path),
    metavar="OUT.png",
    help="Draw the masks on the photo.",
)
@click.option(
    "--cutout",
    type=click.Path(path_type=Path),
    metavar="OUT.png",
    help="Write cutouts, transparent outside: a prompt's best mask, or all masks, numbered.",
)
@force_option
@settings_options("library", "models", "masks")
def segment(
    settings: Settings,
    photo: Path,
    points: tuple[str, ...],
    box: str | None,
    mask: Path | None,
    candidates: str,
    as_json: bool,
    overlay: Path | None,
    cutout: Path | None,
    force: bool,
) -> None:
    """Print the masks of one PHOTO: all of them, or the candidates for points, a box or a mask.

    The photo need not be in a library; if --library is one, its models are used.
    """
    from api.library.models import settings_for_photo
    from api.services.segment import segment_without_library
    from ingest.imaging.decode import path_text

    refuse_unused(
        ("encoder", "crop_recipe", "qdrant"), "one photo is segmented, and nothing is searched"
    )
    if points or box or mask:
        refuse_unused(
            names_of_group("masks"), "a point, a box or a mask replaces the grid of points"
        )
    else:
        refuse_unused(["candidates"], "it goes with a point, a box or a mask")
    check_files = partial(
        check_outputs,
        library=settings.library,
        inputs=[photo, mask] if mask else [photo],
        force=force,
    )
    outputs = [path for path in (overlay, cutout) if path is not None]
    if force and not outputs:
        raise UsageError("--force lets --overlay and --cutout replace files: give one of them")
    check_files(outputs)
    settings = settings_for_photo(settings)
    rgb = _pixels(photo, settings)
    prompt = PromptIn(
        points=tuple(point_from_text(text) for text in points),
        box_xywh=box_from_text(box) if box else None,
        mask=_mask_from_file(mask, settings) if mask else None,
    )
    found = segment_without_library(rgb, prompt, settings, int(candidates))
    shown = found if prompt.is_empty else found[:1]
    cutouts = numbered(cutout, len(shown)) if cutout else []
    overlays = [overlay] if overlay else []
    check_files([*overlays, *cutouts])  # their number is known only now
    drawn = chain((_overlay(rgb, found) for _ in overlays), _iter_cutouts(rgb, shown))
    write_outputs(zip([*overlays, *cutouts], drawn, strict=False))  # cutouts are optional
    if cutout and not shown:
        click.echo(f"no mask was found: {cutout} is not written", err=True)
    if as_json:
        size_wh = [rgb.shape[1], rgb.shape[0]]
        masks = [sam_fields(mask) for mask in found]
        document = {"path": path_text(photo), "size_wh": size_wh, "masks": masks}
        echo_json(document)
    else:
        _print_masks(found)


def sam_fields(mask: SegmentedMask) -> dict[str, Any]:
    """A mask with SAM's field names; names of boxes include the format."""
    from search.masks.rle import coco_rle_from_mask

    return {
        "segmentation": coco_rle_from_mask(mask.mask),
        "area": mask.area_px,
        "bbox_xywh": list(mask.bbox_xywh),
        "predicted_iou": mask.predicted_iou,
        "point_coords": [list(mask.point_xy)] if mask.point_xy else [],
        "stability_score": mask.stability_score,
        "crop_box_xywh": list(mask.crop_box_xywh),
    }


def _pixels(path: Path, settings: Settings) -> RgbImage:
    """The upright pixels of a file.

    Raises:
        UsageError: there is no such file.
        PhotoError: it is not an image, or too large.
    """
    from ingest.imaging.decode import decode_photo, shown_path

    if not path.is_file():
        raise UsageError(f"there is no file {shown_path(path)}")
    return decode_photo(path, max_pixels=settings.max_pixels, max_bytes=settings.max_bytes).rgb


def _mask_from_file(path: Path, settings: Settings) -> Mask:
    from search.masks.rle import mask_from_array

    return mask_from_array(_pixels(path, settings).mean(axis=2) >= INSIDE_LEVEL)


def _overlay(rgb: RgbImage, found: list[SegmentedMask]) -> bytes:
    """The photo with the masks drawn on it, as PNG."""
    from api.render import draw
    from search.masks.rle import array_from_mask

    shown = draw.overlay(rgb, [array_from_mask(mask.mask) for mask in found])
    return draw.png_bytes(shown)


def _iter_cutouts(rgb: RgbImage, found: list[SegmentedMask]) -> Iterator[bytes]:
    """Yield the cutout of each mask, as PNG."""
    from api.render import draw
    from search.masks.rle import array_from_mask

    for mask in found:
        yield draw.png_bytes(draw.cutout(rgb, array_from_mask(mask.mask)))


def _print_masks(found: list[SegmentedMask]) -> None:
    for mask in found:
        box = ",".join(f"{edge:g}" for edge in mask.bbox_xywh)
        click.echo(
            f"predicted_iou {mask.predicted_iou:.3f}  stability {mask.stability_score:.3f}  "
            f"area {mask.area_px}  box {box}"
        )
    click.echo(f"{len(found)} masks" if len(found) != 1 else "1 mask", err=True)
