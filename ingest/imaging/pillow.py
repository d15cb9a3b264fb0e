"""Pillow with a few formats only, nothing printed, and one type of error.

Only the plugins of `FORMATS` read files: Pillow's forty others are rarely maintained and have had
vulnerabilities.
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

# errno of OSErrors that are about the content. EINVAL: a header points before the file's beginning.
CONTENT_ERRNOS = (None, errno.EINVAL)

AVIF_HEAD_BYTES = 64 * 1024  # the boxes that describe the picture come first
_NCLX = re.compile(rb"colrnclx(.{4})", re.DOTALL)

OpenImage = Callable[[IO[bytes], str], ImageFile.ImageFile]
Accepts = Callable[[bytes], bool | str]  # by a file's first 16 bytes

_logger = logging.getLogger(__name__)
_no_output = logging.NullHandler()
_from_pillow = re.compile(r"PIL\.")
_cut_short = re.compile(r"truncat|unexpected end|requires a buffer", re.I)


def open_image(file: IO[bytes], name: str) -> ImageFile.ImageFile:
    """Open by content with the plugins of `FORMATS`; the pixels are not decoded yet.

    Image.open is not used, since it has a global limit of pixels that is lower than the setting.
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
        except Exception as error:  # AVIF and HEIF share a signature: try the next one
            _logger.debug("%s: not opened by %s: %s", name, open_with, error)
    file.seek(0)
    return _with_color(plugins[-1](file, ""), file)


def _with_color(image: ImageFile.ImageFile, file: IO[bytes]) -> ImageFile.ImageFile:
    """Add an AVIF file's color space to `info`, which Pillow omits, as pillow-heif does."""
    if image.format == "AVIF":
        file.seek(0)
        if found := _NCLX.search(file.read(AVIF_HEAD_BYTES)):
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
    """Decode the pixels; return the loaded image, a new one if a JPEG lacks only its end marker.

    Args:
        image: from `open_image`.
        draft_wh: the size passed to `image.draft`, if any.
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
    """Load the plugins of `FORMATS` once, and silence their output."""
    import pillow_heif
    from PIL import AvifImagePlugin, Jpeg2KImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

    Image.preinit()  # BMP, GIF, JPEG, PNG
    pillow_heif.register_heif_opener()
    logging.getLogger("PIL").addHandler(_no_output)
    _silence_libtiff()
    known = [Image.OPEN[format_name] for format_name in FORMATS]
    return tuple((open_with, accepts) for open_with, accepts in known if accepts is not None)


def decode_in_one_thread() -> None:
    """Make HEIF and AVIF decode in the calling thread, for the whole process."""
    import pillow_heif
    from PIL import AvifImagePlugin

    pillow_heif.options.DECODE_THREADS = 1
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def _silence_libtiff() -> None:
    """Remove libtiff's handlers, which print about damaged files to stderr.

    Pillow has no function for that, so the symbols are looked up in Pillow's library; where that
    fails (Windows), libtiff goes on printing. Replacing the process's stderr during each decode
    would affect other threads.
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
def photo_errors(name: str) -> Iterator[None]:
    """Translate any exception of the imaging libraries to a `PhotoError`.

    They raise OSError, SyntaxError, ValueError, struct.error, EOFError, MemoryError, TypeError,
    RuntimeError, AssertionError and more, so all exceptions are caught.
    """
    _silence_pillow()
    try:
        yield
    except PhotoError:
        raise
    except Exception as error:
        raise _photo_error(error, name) from error


def _photo_error(error: Exception, name: str) -> PhotoError:
    """Describe what is wrong with the file and what to do."""
    if isinstance(error, OSError) and error.errno not in CONTENT_ERRNOS:
        return PhotoError(
            f"{name} can't be read: {os_error_reason(error)}. Check the disk and the file's "
            "permissions."
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
        f"{name} is damaged, incomplete or in an unsupported variant, and can't be decoded. "
        "Restore it from a backup, convert it, or leave it out."
    )


def os_error_reason(error: OSError) -> str:
    """Return the system's message, for example "permission denied"."""
    return (error.strerror or str(error)).lower()


def _silence_pillow() -> None:
    """Ignore warnings of Pillow's modules (damaged EXIF, large pictures, unusual APNG).

    warnings.catch_warnings would change the filters of the whole process while other threads
    decode; a filter by module affects Pillow alone. It is checked each time, since a catch_warnings
    elsewhere may remove it.
    """
    if not any(module == _from_pillow for _, _, _, module, _ in warnings.filters):
        warnings.filterwarnings("ignore", module=_from_pillow.pattern)
