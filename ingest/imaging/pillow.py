"""Pillow, tamed: a few formats only, nothing printed, one kind of error.

Only the plugins of `FORMATS` ever see a file's bytes: Pillow's other forty are rarely looked
after and have had holes.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO

from PIL import Image, ImageFile, PngImagePlugin, _imaging
from PIL.JpegImagePlugin import JpegImageFile

from ingest.imaging import png
from ingest.imaging.jpeg import jpeg_with_end
from search.errors import PhotoError, TooLargeError, UndecodableError

# MPO counts as JPEG.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF", "HEIF", "BMP", "JPEG2000")

NOT_THE_DISK = (None, errno.EINVAL)  # EINVAL: a header that points before the file's beginning

BOXES_WITHIN = 64 * 1024  # what an AVIF file says of its picture comes first
_NCLX = re.compile(rb"colrnclx(.{4})", re.DOTALL)

OpenImage = Callable[[IO[bytes], str], ImageFile.ImageFile]
Accepts = Callable[[bytes], bool | str]  # by a file's first 16 bytes

_logger = logging.getLogger(__name__)
_no_output = logging.NullHandler()
_from_pillow = re.compile(r"PIL\.")
_cut_short = re.compile(r"truncat|unexpected end|requires a buffer", re.I)


def open_image(file: IO[bytes], name: str) -> ImageFile.ImageFile:
    """Open by content with the plugins of `FORMATS` only; the pixels are not decoded yet.

    Not Image.open: it refuses by a limit of its own, global, and smaller than ours.
    """
    head = file.read(16)
    if head.startswith(png.SIGNATURE):
        return _open_png(file)
    plugins = [open_with for open_with, accepts in _plugins() if accepts(head) is True]
    if not plugins:
        raise UndecodableError(
            f"{name} is not a picture that segsearch reads (JPEG, PNG, WebP, TIFF, GIF, HEIC, "
            "AVIF, BMP, JPEG 2000). Convert it, or leave it out."
        )
    for open_with in plugins[:-1]:
        file.seek(0)
        try:
            return _with_color(open_with(file, ""), file)
        except Exception:  # AVIF and HEIF share a signature: the next may know it
            continue
    file.seek(0)
    return _with_color(plugins[-1](file, ""), file)


def _with_color(image: ImageFile.ImageFile, file: IO[bytes]) -> ImageFile.ImageFile:
    """Note an AVIF file's color space, of which Pillow says nothing, as pillow-heif does."""
    if image.format == "AVIF":
        file.seek(0)
        if found := _NCLX.search(file.read(BOXES_WITHIN)):
            primaries, transfer = struct.unpack(">HH", found[1])
            image.info["nclx_profile"] = {
                "color_primaries": primaries,
                "transfer_characteristics": transfer,
            }
    return image


def _open_png(file: IO[bytes]) -> ImageFile.ImageFile:
    pixels, info = png.split_png(file)
    pixels.seek(0)
    image = PngImagePlugin.PngImageFile(pixels, "")
    image.info.update(info)
    return image


def load_image(image: Image.Image, draft_wh: tuple[int, int] | None = None) -> Image.Image:
    """Decode the pixels; return the picture that has them.

    That is another one for a JPEG that lacks its end marker and nothing else.

    Args:
        image: as `open_image` returned it.
        draft_wh: what it is drafted to.
    """
    try:
        image.load()
    except OSError as error:
        if not isinstance(image, JpegImageFile) or not _cut_short.search(str(error)):
            raise
        ended = jpeg_with_end(image, draft_wh)
        if ended is None:
            raise
        return ended
    return image


@cache
def _plugins() -> tuple[tuple[OpenImage, Accepts], ...]:
    """Load the plugins of `FORMATS`, once, and keep them from writing to the terminal."""
    import pillow_heif
    from PIL import AvifImagePlugin, Jpeg2KImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

    Image.preinit()  # BMP, GIF, JPEG, PNG
    pillow_heif.register_heif_opener()
    logging.getLogger("PIL").addHandler(_no_output)
    _silence_libtiff()
    known = [Image.OPEN[format_name] for format_name in FORMATS]
    return tuple((open_with, accepts) for open_with, accepts in known if accepts is not None)


def decode_in_one_thread() -> None:
    """Let HEIF and AVIF be decoded in the thread that asks, in all of this process."""
    import pillow_heif
    from PIL import AvifImagePlugin

    pillow_heif.options.DECODE_THREADS = 1
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def _silence_libtiff() -> None:
    """Take away libtiff's handlers, which print straight to stderr about damaged files.

    Pillow has no call for it. The symbols are found through Pillow's own library; where they
    can't be (Windows), libtiff goes on printing. Swapping the process's stderr around each
    decode is no way out, since other threads write to it too.
    """
    try:
        pillow = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            set_handler = getattr(pillow, name)
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)
    except (OSError, AttributeError):
        _logger.debug("libtiff can't be silenced here", exc_info=True)


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turn whatever the imaging libraries raise into a `PhotoError`; the only place that does.

    They raise nearly everything: OSError, SyntaxError, ValueError, struct.error, EOFError,
    MemoryError, TypeError, RuntimeError, AssertionError, ... A list would miss the next one.
    """
    _silence_pillow()
    try:
        yield
    except PhotoError:
        raise
    except Exception as error:
        raise _refusal(error, name) from error


def _refusal(error: Exception, name: str) -> PhotoError:
    """Say in words what is wrong with the file, and what to do."""
    if isinstance(error, OSError) and error.errno not in NOT_THE_DISK:
        return PhotoError(
            f"{name} can't be read: {reason_of(error)}. Check the disk and who may read the file."
        )
    if isinstance(error, MemoryError):
        return UndecodableError(
            f"{name} needs more memory than there is. Make it smaller, or leave it out."
        )
    if isinstance(error, Image.DecompressionBombError):
        return TooLargeError(f"{name} has too many pixels. Make it smaller, or leave it out.")
    if isinstance(error, EOFError) or _cut_short.search(str(error)):
        return UndecodableError(
            f"{name} is cut short: the end of the picture is missing. "
            "Restore it from a backup, or leave it out."
        )
    return UndecodableError(
        f"{name} is damaged, incomplete or of a rare kind, and can't be decoded. "
        "Restore it from a backup, convert it, or leave it out."
    )


def reason_of(error: OSError) -> str:
    """Return the system's words: "permission denied"."""
    return (error.strerror or str(error)).lower()


def _silence_pillow() -> None:
    """Ignore warnings that Pillow's own modules give (damaged EXIF, large pictures, odd APNG).

    They are about the file, and the file is judged here. warnings.catch_warnings would swap the
    filters of the whole process while other threads decode; a filter by module does no harm to
    anyone else and stays. Looked up each time, since a catch_warnings elsewhere may drop it.
    """
    if not any(module == _from_pillow for _, _, _, module, _ in warnings.filters):
        warnings.filterwarnings("ignore", module=_from_pillow.pattern)
