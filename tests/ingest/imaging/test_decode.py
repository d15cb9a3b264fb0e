"""From files to upright pixels: formats, orientations, colours, refusals."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from ingest.imaging.decode import (
    DecodedPhoto,
    bytes_sha256,
    decode_bytes,
    decode_photo,
    decode_pixels,
    pixel_sha256,
)
from ingest.scanning.walk import iter_photo_files
from search.errors import PhotoError, TooLargeError, UndecodableError

pillow_heif.register_heif_opener()

ORIENTATION = 0x0112
RED, BLUE = (255, 0, 0), (0, 0, 255)
STORED_FROM_UPRIGHT: dict[int, Callable[[Any], Any]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def noise(height: int = 5, width: int = 7) -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)


def saved(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def decode(data: bytes, max_pixels: int = 10**6, max_bytes: int = 10**7) -> DecodedPhoto:
    return decode_bytes(data, max_pixels=max_pixels, max_bytes=max_bytes, name="a.jpg")


def decoded_pixel(image: Image.Image, image_format: str = "PNG", **options: Any) -> list[int]:
    """The top left pixel after a round trip through a file."""
    return [int(level) for level in decode(saved(image, image_format, **options)).rgb[0, 0]]


# formats


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
        ("HEIF", {"quality": -1, "chroma": 444}),
        ("JPEG", {"quality": 100, "subsampling": 0}),
        ("BMP", {}),
        ("JPEG2000", {}),
        ("JPEG2000", {"no_jp2": True}),
    ],
)
def test_every_format_gives_its_pixels_back(image_format: str, options: dict[str, Any]) -> None:
    pixels = np.kron(noise(4, 6), np.ones((16, 16, 1), np.uint8))
    photo = decode(saved(Image.fromarray(pixels), image_format, **options))
    assert photo.size_wh == (96, 64)
    assert photo.rgb.dtype == np.uint8
    assert photo.rgb.flags.c_contiguous
    assert photo.rgb.flags.writeable
    assert np.abs(photo.rgb.astype(int) - pixels).mean() < 3


def test_the_format_is_recognized_by_content_not_by_name(tmp_path: Path) -> None:
    path = tmp_path / "really-a-png.jpg"
    path.write_bytes(saved(Image.new("RGB", (3, 2), RED)))
    assert decode_photo(path, max_pixels=100, max_bytes=1000).rgb.tolist() == [[list(RED)] * 3] * 2


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "TIFF", "PNG", "MPO", "AVIF", "HEIF"])
def test_the_first_frame_or_page_is_used(image_format: str) -> None:
    frames = [Image.new("RGB", (32, 32), color) for color in (RED, BLUE)]
    data = saved(frames[0], image_format, save_all=True, append_images=frames[1:])
    assert decode(data).rgb.mean(axis=(0, 1)) == pytest.approx(RED, abs=12)


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 300), (300, 1)])
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "AVIF", "BMP"])
def test_one_pixel_wide_pictures_are_decoded(size_wh: tuple[int, int], image_format: str) -> None:
    assert decode(saved(Image.new("RGB", size_wh), image_format)).size_wh == size_wh


# to be shown


@pytest.mark.parametrize("orientation", STORED_FROM_UPRIGHT)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_for_display_is_downscaled_and_keeps_its_full_size(
    tmp_path: Path, orientation: int, mode: str
) -> None:
    pixels = np.kron(noise(6, 4), np.ones((64, 64, 1), np.uint8))  # 256 x 384
    stored = Image.fromarray(np.ascontiguousarray(STORED_FROM_UPRIGHT[orientation](pixels)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / "turned.jpg"
    stored.convert(mode).save(path, exif=exif, quality=95)
    whole = decode_photo(path, max_pixels=10**6, max_bytes=10**6)
    for at_least_px, side in ((None, 384), (500, 384), (200, 384), (192, 192), (97, 192), (40, 48)):
        shown = decode_pixels(path, max_pixels=10**6, max_bytes=10**6, at_least_px=at_least_px)
        assert shown.size_wh == whole.size_wh == (256, 384)
        assert shown.rgb.shape == (side, side * 2 // 3, 3)
        step = 384 // side
        blocks = whole.rgb.reshape(side, step, -1, step, 3).mean(axis=(1, 3))
        assert np.abs(shown.rgb - blocks).mean() < 4


def test_limits_hold_for_what_is_shown_small(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("RGB", (400, 300)).save(path)
    with pytest.raises(TooLargeError, match=r"the limit is 0\.1 million"):
        decode_pixels(path, max_pixels=100_000, max_bytes=10**6, at_least_px=40)


def test_other_formats_are_decoded_at_full_size(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(noise(64, 96)).save(path)
    shown = decode_pixels(path, max_pixels=10**6, max_bytes=10**6, at_least_px=10)
    assert shown.rgb.tolist() == noise(64, 96).tolist()


# orientation


@pytest.mark.parametrize("orientation", STORED_FROM_UPRIGHT)
@pytest.mark.parametrize(
    ("image_format", "options"),
    [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": 1})],
)
def test_every_orientation_comes_out_upright_to_the_pixel(
    orientation: int, image_format: str, options: dict[str, Any]
) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED_FROM_UPRIGHT[orientation](noise())))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photo = decode(saved(stored, image_format, exif=exif.tobytes(), **options))
    assert np.array_equal(photo.rgb, noise())


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("image_format", ["JPEG", "HEIF", "AVIF"])
def test_lossy_formats_are_rotated_once(orientation: int, image_format: str) -> None:
    upright = np.kron(noise(2, 3), np.ones((32, 32, 1), np.uint8))
    stored = Image.fromarray(np.ascontiguousarray(STORED_FROM_UPRIGHT[orientation](upright)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photo = decode(saved(stored, image_format, exif=exif.tobytes(), quality=95))
    assert photo.size_wh == (96, 64)
    assert np.abs(photo.rgb.astype(int) - upright).mean() < 12


@pytest.mark.parametrize("nonsense", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_changes_nothing(nonsense: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = nonsense
    photo = decode(saved(Image.fromarray(noise()), exif=exif.tobytes()))
    assert np.array_equal(photo.rgb, noise())


# modes and colours


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("1", 1, [255, 255, 255]),
        ("L", 77, [77, 77, 77]),
        ("LA", (77, 0), [255, 255, 255]),
        ("RGBA", (255, 0, 0, 255), [255, 0, 0]),
        ("RGBA", (255, 0, 0, 0), [255, 255, 255]),
        ("RGBA", (255, 0, 0, 128), [255, 127, 127]),
        ("I;16", 0x8080, [128, 128, 128]),
    ],
)
def test_a_png_of_any_mode_becomes_rgb_on_white(mode: str, color: Any, expected: list[int]) -> None:
    assert decoded_pixel(Image.new(mode, (4, 4), color)) == expected


def test_cmyk_becomes_rgb() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert decoded_pixel(cyan, "JPEG", quality=100) == pytest.approx([0, 255, 255], abs=3)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [("L", 77, [77] * 3), ("1", 1, [255] * 3), ("RGBA", (255, 0, 0, 0), [255, 0, 0])],
)
def test_a_bmp_of_any_mode_becomes_rgb(mode: str, color: Any, expected: list[int]) -> None:
    assert decoded_pixel(Image.new(mode, (4, 4), color), "BMP") == expected


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [("L", 77, [77] * 3), ("RGBA", (255, 0, 0, 0), [255] * 3), ("I;16", 0x8080, [128] * 3)],
)
def test_jpeg_2000_of_any_mode_becomes_rgb_on_white(
    mode: str, color: Any, expected: list[int]
) -> None:
    assert decoded_pixel(Image.new(mode, (16, 16), color), "JPEG2000") == expected


def test_lab_becomes_rgb() -> None:
    grey = Image.new("LAB", (4, 4), (128, 128, 128))  # a* = b* = 0
    assert decoded_pixel(grey, "TIFF") == pytest.approx([119, 119, 119], abs=2)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_gray_is_stretched_not_clipped(mode: str) -> None:
    wide = Image.fromarray(np.array([[-1000, 0, 1000, 99000]], np.int32)).convert(mode)
    assert decode(saved(wide, "TIFF")).rgb[0, :, 0].tolist() == [0, 3, 5, 255]


def test_32_bit_gray_of_one_value_is_black() -> None:
    assert decoded_pixel(Image.new("F", (2, 2), 7.5), "TIFF") == [0, 0, 0]


def test_floats_that_are_not_finite_are_black() -> None:
    odd = Image.fromarray(np.array([[np.nan, np.inf, 0.5, 1.0, 0.0]], np.float32))
    assert decode(saved(odd, "TIFF")).rgb[0, :, 0].tolist() == [0, 0, 128, 255, 0]


def test_16_bit_gray_is_scaled_not_clipped() -> None:
    ramp = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for image_format in ("PNG", "TIFF"):
        data = saved(Image.fromarray(ramp), image_format)
        assert decode(data).rgb[0, :, 1].tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_a_transparent_palette_color_is_white(image_format: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    rgb = decode(saved(image, image_format, transparency=0)).rgb
    assert rgb.tolist() == [[[255, 255, 255], list(BLUE)]]


def swapped_profile() -> bytes:
    """A valid RGB profile in which red and green have changed places."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


def test_an_embedded_profile_is_converted_to_srgb() -> None:
    pixel = decoded_pixel(Image.new("RGB", (4, 4), RED), icc_profile=swapped_profile())
    assert pixel == pytest.approx([0, 255, 0], abs=2)


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
        b"not a profile",
        swapped_profile()[:300],
    ],
    ids=["sRGB itself", "of another space", "garbage", "cut short"],
)
def test_an_unusable_profile_changes_no_pixel(profile: bytes) -> None:
    data = saved(Image.fromarray(noise()), icc_profile=profile)
    assert np.array_equal(decode(data).rgb, noise())


# what is beside the pixels


def png_chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    right = zlib.crc32(kind + content)
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", right if checksum is None else checksum)
    )


def png_with(*chunks: bytes, last: bool = False) -> bytes:
    """A PNG of `noise()` with chunks before its pixels, or behind them."""
    data = saved(Image.fromarray(noise()))
    at = len(data) - 12 if last else 33
    return data[:at] + b"".join(chunks) + data[at:]


LONG = os.urandom(800_000).hex().encode()
BESIDE = {
    "a long compressed text": png_chunk(b"zTXt", b"workflow\0\0" + zlib.compress(LONG)),
    "a long international text": png_chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(LONG)),
    "a bomb": png_chunk(b"zTXt", b"Creation Time\0\0" + zlib.compress(bytes(100_000_000))),
    "texts of 70 MB in all": b"".join(
        png_chunk(b"tEXt", b"a\0" + bytes(900_000)) for _ in range(80)
    ),
    "a profile that is garbage and long": png_chunk(b"iCCP", b"monitor\0\0" + zlib.compress(LONG)),
    "long EXIF that is garbage": png_chunk(b"eXIf", LONG),
    "a profile cut short": png_chunk(b"iCCP", b"monitor\0\0" + zlib.compress(LONG)[:1000]),
    "a wrong checksum of a text": png_chunk(b"tEXt", b"Title\0Sea", checksum=7),
    "a wrong checksum of a color": png_chunk(b"gAMA", bytes([0, 0, 1, 0]), checksum=7),
    "a wrong checksum of a transparent color": png_chunk(b"tRNS", bytes(6), checksum=7),
    "chunks that are too short": png_chunk(b"gAMA", b"") + png_chunk(b"cICP", b"\1"),
    "an unknown chunk": png_chunk(b"prVt", b"?"),
    "an animation of no frames": png_chunk(b"acTL", bytes(8)),
}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE.keys())
def test_invalid_png_metadata_does_not_affect_the_pixels(beside: bytes, last: bool) -> None:
    data = png_with(beside, last=last)
    photo = decode_bytes(data, max_pixels=10**6, max_bytes=10**9, name="a.png")
    assert np.array_equal(photo.rgb, noise())


def test_a_profile_of_more_than_a_megabyte_is_converted() -> None:
    profile = swapped_profile()
    longer = struct.pack(">I", 2_000_000) + profile[4:] + os.urandom(2_000_000 - len(profile))
    red = saved(Image.new("RGB", (4, 4), RED))
    chunk = png_chunk(b"iCCP", b"monitor\0\0" + zlib.compress(longer))
    assert decode(red[:33] + chunk + red[33:]).rgb[0, 0].tolist() == pytest.approx(
        [0, 255, 0], abs=2
    )


def test_a_wrong_checksum_of_a_pixel_chunk_is_damage() -> None:
    data = bytearray(saved(Image.fromarray(noise())))
    data[29] ^= 1  # of the header
    with pytest.raises(UndecodableError, match="is damaged"):
        decode(bytes(data))


# identity


def test_the_same_pixels_in_another_file_are_the_same_photo() -> None:
    image = Image.fromarray(noise())
    exif = Image.Exif()
    exif[0x010F] = "Canon"
    plain, tagged = decode(saved(image)), decode(saved(image, "TIFF", exif=exif.tobytes()))
    assert plain.pixel_sha256 == tagged.pixel_sha256 == pixel_sha256(noise())


def test_the_same_bytes_in_another_shape_are_another_photo() -> None:
    assert pixel_sha256(noise(2, 6)) != pixel_sha256(noise(2, 6).reshape(3, 4, 3))


def test_a_file_hash_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert bytes_sha256(tmp_path / "a").startswith("ba7816bf")
    with pytest.raises(PhotoError, match="can't be read: no such file"):
        bytes_sha256(tmp_path / "absent")


# refusals


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 4) + b"IDATxxxx"


def test_too_many_pixels_are_refused_by_the_header_and_the_message_has_the_limit() -> None:
    with pytest.raises(TooLargeError, match=r"60,000 x 60,000 pixels.*limit is 1\.0 million"):
        decode(png_header(60_000, 60_000))


def test_the_settings_limit_applies_and_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode(saved(Image.new("RGB", (50, 50)))).size_wh == (50, 50)


def test_pillows_decompression_bomb_error_becomes_a_photo_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(TooLargeError, match="has too many pixels"):
        decode(saved(Image.new("RGB", (50, 50)), "WEBP"))


def test_exactly_the_limit_is_allowed_and_one_pixel_more_is_not() -> None:
    data = saved(Image.new("RGB", (10, 10)))
    assert decode(data, max_pixels=100).size_wh == (10, 10)
    with pytest.raises(TooLargeError):
        decode(data, max_pixels=99)


def test_too_many_bytes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "big.jpg"
    with path.open("wb") as file:
        file.truncate(10**12)  # sparse
    with pytest.raises(TooLargeError, match=r"1,000,000\.0 MB; the limit is 500\.0 MB"):
        decode_photo(path, max_pixels=100, max_bytes=500_000_000)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"Dear diary, today I took no photo.", "is not a picture that segsearch reads"),
        (saved(Image.new("RGB", (4, 4)), "PPM"), "is not a picture that segsearch reads"),
        (b"8BPS\0\1" + bytes(60), "is not a picture that segsearch reads"),
        (b"\xff\xd8\xff\xe0" + bytes(400), "is damaged"),
    ],
)
def test_a_file_that_is_not_a_photo_is_an_error_with_a_remedy(data: bytes, words: str) -> None:
    with pytest.raises(UndecodableError, match=words) as caught:
        decode(data)
    assert str(caught.value).startswith("a.jpg ")
    assert "leave it out" in str(caught.value)


ONE_SCAN_AND_SEVERAL = pytest.mark.parametrize("options", [{}, {"progressive": True}])


@pytest.mark.parametrize("missing", [3, 5, 100, 1500])
@ONE_SCAN_AND_SEVERAL
def test_a_jpeg_that_lacks_picture_data_is_truncated(missing: int, options: dict[str, Any]) -> None:
    data = saved(Image.fromarray(noise(64, 64)), "JPEG", **options)
    with pytest.raises(UndecodableError, match="cut short: the end of the picture is missing"):
        decode(data[:-missing])


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("padding", [b"", bytes(100)])
@ONE_SCAN_AND_SEVERAL
def test_a_jpeg_that_lacks_only_its_end_marker_is_decoded(
    tmp_path: Path, missing: int, padding: bytes, options: dict[str, Any]
) -> None:
    data = saved(Image.fromarray(noise(64, 64)), "JPEG", **options)
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:-missing] + padding)
    assert np.array_equal(decode(path.read_bytes()).rgb, decode(data).rgb)
    shown = decode_pixels(path, max_pixels=10**6, max_bytes=10**6, at_least_px=30)
    assert shown.rgb.shape == (32, 32, 3)


def test_a_progressive_jpeg_that_ends_between_two_scans_is_cut_short() -> None:
    data = saved(Image.fromarray(noise(64, 64)), "JPEG", progressive=True)
    last_scan = data.rindex(b"\xff\xc4")  # its Huffman table
    with pytest.raises(UndecodableError, match="cut short"):
        decode(data[:last_scan])


@pytest.mark.parametrize(
    "image_format", ["PNG", "WEBP", "TIFF", "GIF", "AVIF", "HEIF", "BMP", "JPEG2000"]
)
def test_half_a_file_is_refused_in_every_format(image_format: str) -> None:
    data = saved(Image.fromarray(noise(64, 64)), image_format)
    with pytest.raises(UndecodableError):
        decode(data[: len(data) // 2])


def test_a_file_that_cannot_be_opened_is_refused_with_the_systems_reason(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="no such file"):
        decode_photo(tmp_path / "gone.jpg", max_pixels=100, max_bytes=100)
    with pytest.raises(PhotoError, match="is not a file"):
        decode_photo(tmp_path, max_pixels=100, max_bytes=100)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoError, match="is not a file"):
        decode_photo(tmp_path / "pipe.jpg", max_pixels=100, max_bytes=100)
    with pytest.raises(PhotoError, match="is not a file"):
        bytes_sha256(tmp_path / "pipe.jpg")


def test_damaged_exif_is_ignored_silently() -> None:
    broken = b"Exif\0\0II*\0\x08\0\0\0\x09\0\x0f\x01\x02\0\xff\xff\0\0\xff\xff"
    data = saved(Image.fromarray(noise()), exif=broken)
    with ThreadPoolExecutor(4) as threads:  # warnings are errors here, in threads too
        photos = list(threads.map(decode, [data] * 20))
    assert all(np.array_equal(photo.rgb, noise()) for photo in photos)


@pytest.mark.skipif(sys.platform == "win32", reason="libtiff's symbols can't be found there")
def test_libtiff_does_not_print(capfd: pytest.CaptureFixture[str]) -> None:
    data = saved(Image.fromarray(noise(64, 64)), "TIFF", compression="jpeg")
    with pytest.raises(UndecodableError):
        decode(data[:-40])
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="only here file names are any bytes")
def test_a_name_that_is_not_utf8_survives(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    path.write_bytes(saved(Image.fromarray(noise()))[:-200])
    assert list(iter_photo_files(tmp_path)) == [path]
    with pytest.raises(UndecodableError) as caught:
        decode_photo(path, max_pixels=100, max_bytes=10_000)
    assert str(caught.value).encode()  # can be printed
    assert r"caf\xe9.jpg" in str(caught.value)
