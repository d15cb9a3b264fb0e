"""Dates, cameras and places, from tags and from files."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

from ingest.imaging.date_strings import date_from_any_text
from ingest.imaging.decode import decode_bytes, decode_photo
from ingest.imaging.metadata import FileFacts, Metadata, facts_from_metadata
from search.records import Place

FILE_TIME = datetime(2024, 2, 29, 12, tzinfo=UTC)
ROME = {1: "N", 2: (41.0, 51.18, 0.0), 3: "E", 4: (12.0, 29.33, 0.0)}


def facts_from_exif(tags: Mapping[Any, Any]) -> FileFacts:
    return facts_from_metadata(Metadata(exif=tags, xmp=b"", texts={}), FILE_TIME)


def taken_at(date: Any, offset: Any = None) -> datetime:
    tags = {Base.DateTimeOriginal: date, Base.OffsetTimeOriginal: offset}
    return facts_from_exif(tags).sort_at


def camera(make: Any, model: Any) -> str | None:
    return facts_from_exif({Base.Make: make, Base.Model: model}).camera


def place(**changed: Any) -> Place | None:
    names = {"lat_ref": 1, "lat": 2, "lon_ref": 3, "lon": 4}
    return facts_from_exif({**ROME, **{names[k]: v for k, v in changed.items()}}).location


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (None, UTC),
        ("Z", UTC),
        ("   :  ", UTC),
        ("+99:00", UTC),
        (b"\xff", UTC),
        ("+02:00", timezone(timedelta(hours=2))),
        ("-03:30\0", timezone(-timedelta(hours=3, minutes=30))),
    ],
)
def test_a_date_has_its_own_offset_or_utc(offset: Any, expected: Any) -> None:
    assert taken_at("2021:07:04 18:30:05", offset) == datetime(
        2021, 7, 4, 18, 30, 5, tzinfo=expected
    )
    assert taken_at("2021:07:04 18:30:05", offset).hour == 18


@pytest.mark.parametrize(
    "date", ["0000:00:00 00:00:00", "2021:02:30 10:00:00", "    :  :     :  :  ", "", "0001:01:01",
             "9999:12:31 23:59:59", b"\x00\xff\xfe", 20210704, (1, 2), None],
)  # fmt: skip
def test_an_invalid_date_is_replaced_by_the_file_time(date: Any) -> None:
    assert taken_at(date) == FILE_TIME


def test_a_scan_has_the_date_of_its_scanning_and_an_edit_that_of_its_saving() -> None:
    tags = {Base.DateTimeOriginal: "0000:00:00 00:00:00", Base.DateTime: "2003:05:19 14:18:48"}
    assert facts_from_exif(tags).sort_at.year == 2003
    tags[Base.DateTimeDigitized] = "2001:01:11 03:28:39"
    assert facts_from_exif(tags).sort_at.year == 2001


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("Canon", "Canon EOS 70D", "Canon EOS 70D"),
        ("NIKON CORPORATION", "NIKON D5000", "NIKON D5000"),
        ("EASTMAN KODAK COMPANY", "KODAK DC3400 ZOOM", "KODAK DC3400 ZOOM"),
        ("Apple", "iPhone 4", "Apple iPhone 4"),
        ("RICOH      ", "DC-3Z    ", "RICOH DC-3Z"),
        ("NIKON", "COOLPIX P7000\0\0", "NIKON COOLPIX P7000"),
        ("SONY", None, "SONY"),
        (None, "X100", "X100"),
        (b"Leica\0garbage", b"M9", "Leica M9"),
        ("\0", " ", None),
        (7, (1, 2), None),
        ("A\x1b[2JB", None, "A [2JB"),
        # As Pillow hands them over: bytes read as Latin-1.
        ("Xiaomi", "小米 13".encode().decode("latin-1"), "Xiaomi 小米 13"),
        ("Ωμέγα".encode().decode("latin-1"), None, "Ωμέγα"),
        ("Caméra".encode().decode("latin-1"), "ü1", "Caméra ü1"),
        ("Camera é", None, "Camera é"),
        ("小米", "13", "小米 13"),
        ("Ωμέγα".encode(), "Caf\xe9".encode("latin-1"), "Ωμέγα Café"),
    ],
)
def test_a_camera_is_make_and_model_once(make: Any, model: Any, expected: str | None) -> None:
    assert camera(make, model) == expected


def test_a_long_camera_name_is_truncated() -> None:
    assert camera("x" * 10_000, None) == "x" * 100


def test_a_place_is_in_decimal_degrees_with_its_hemisphere() -> None:
    north_east, south_west = place(), place(lat_ref="S", lon_ref="W\0")
    assert north_east is not None
    assert south_west is not None
    assert (north_east.lat, north_east.lon) == pytest.approx((41.853, 12.4888), abs=1e-4)
    assert (south_west.lat, south_west.lon) == pytest.approx((-41.853, -12.4888), abs=1e-4)


def test_seconds_of_nothing_over_nothing_are_none() -> None:
    found = place(lat=(IFDRational(48), IFDRational(5332358, 100000), IFDRational(0, 0)))
    assert found is not None
    assert found.lat == pytest.approx(48.888726, abs=1e-6)


@pytest.mark.parametrize(
    "changed",
    [
        {"lat": (IFDRational(41, 0), IFDRational(51), IFDRational(0))},
        {"lat": (IFDRational(41), IFDRational(0, 0), IFDRational(0))},
        {"lat": (91.0, 0.0, 0.0)},
        {"lon": (180.0, 0.0, 1.0)},
        {"lon": (-12.0, 0.0, 0.0)},
        {"lat": (41.0, 51.0)},
        {"lat": 41.0},
        {"lat": ("41", "x", "0")},
        {"lat_ref": None},
        {"lon_ref": "N"},
        {"lat": (0.0, 0.0, 0.0), "lon": (0.0, 0.0, 0.0)},
    ],
)
def test_an_invalid_location_is_none(changed: dict[str, Any]) -> None:
    assert place(**changed) is None


ANY_VALUE = st.one_of(
    st.none(), st.binary(), st.text(), st.integers(), st.floats(), st.tuples(*[st.floats()] * 3)
)


@given(st.dictionaries(st.sampled_from([*range(1, 5), 271, 272, 306, 36867, 36881]), ANY_VALUE))
def test_no_exif_tag_raises(tags: dict[int, Any]) -> None:
    assert facts_from_exif(tags).sort_at.tzinfo is not None


@pytest.mark.parametrize(
    ("image_format", "pages"),
    [
        *[("JPEG", 1), ("PNG", 1), ("WEBP", 1), ("TIFF", 1), ("HEIF", 1), ("AVIF", 1)],
        # Not AVIF: writing several frames with an orientation crashes Pillow 13.0.
        *[("MPO", 2), ("PNG", 2), ("WEBP", 2), ("TIFF", 2), ("HEIF", 2)],
    ],
)
def test_every_format_keeps_its_facts(image_format: str, pages: int) -> None:
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model], exif[Base.Orientation] = "Canon", "Canon EOS 70D", 6
    exif[IFD.Exif] = {
        Base.DateTimeOriginal: "2021:07:04 18:30:05",
        Base.OffsetTimeOriginal: "+02:00",
    }
    exif[IFD.GPSInfo] = {
        **{GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (41.0, 51.18, 0.0)},
        **{GPS.GPSLongitudeRef: "E", GPS.GPSLongitude: (12.0, 29.33, 0.0)},
    }
    file, page = io.BytesIO(), Image.new("RGB", (64, 32))
    several = {"save_all": True, "append_images": [page]} if pages > 1 else {}
    page.save(file, image_format, exif=exif.tobytes(), **several)
    photo = decode_bytes(file.getvalue(), max_pixels=10_000, max_bytes=10**6, name="a")
    assert photo.size_wh == (32, 64)
    assert photo.taken_at is not None
    assert photo.taken_at.isoformat() == "2021-07-04T18:30:05+02:00"
    assert photo.camera == "Canon EOS 70D"
    assert photo.location == place()


def test_without_exif_the_files_time_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (2, 2)).save(path)
    for seconds in (86_400, -86_400, 0.5):
        os.utime(path, (seconds, seconds))
        photo = decode_photo(path, max_pixels=100, max_bytes=10_000)
        assert (photo.taken_at, photo.date_source) == (None, "file")
        assert photo.sort_at == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        assert (photo.camera, photo.location) == (None, None)


def test_a_name_in_utf8_or_latin_1_is_read_from_a_file_as_it_was_written() -> None:
    for written, expected in (("小米 13".encode(), "小米 13"), (b"Camera \xfc", "Camera ü")):
        exif = Image.Exif()
        exif[Base.Model] = written
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif.tobytes())
        photo = decode_bytes(file.getvalue(), max_pixels=100, max_bytes=10_000, name="a")
        assert photo.camera == expected


@pytest.mark.parametrize(
    ("fraction", "microsecond"),
    [("25", 250_000), ("007", 7_000), ("1234567", 123_456), ("9   ", 900_000), ("", 0), ("x", 0),
     ("²", 0), (None, 0), (5, 0)],
)  # fmt: skip
def test_photos_of_one_second_are_sorted_by_its_fractions(fraction: Any, microsecond: int) -> None:
    tags = {Base.DateTimeOriginal: "2021:07:04 18:30:05", Base.SubsecTimeOriginal: fraction}
    assert facts_from_exif(tags).sort_at.microsecond == microsecond


def xmp(said: str) -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        'xmlns:e="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        f'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/">{said}</rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()


DATED = xmp('<rdf:Description e:DateTimeOriginal="2009-08-07T06:05:04+02:00"/>')
CREATED = "<rdf:Description><xmp:CreateDate>{}</xmp:CreateDate></rdf:Description>"
NAMED = '<rdf:Description {}="{}" xmp:CreateDate="2020-02-03T04:05:06.5Z"/>'


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (DATED, "2009-08-07T06:05:04+02:00"),
        (DATED + bytes(100), "2009-08-07T06:05:04+02:00"),
        (DATED.decode().encode("utf-16"), "2009-08-07T06:05:04+02:00"),
        (xmp(CREATED.format("2009-08-07T06:05")), "2009-08-07T06:05:00+00:00"),
        (xmp(CREATED.format("1975")), "1975-01-01T00:00:00+00:00"),
        (xmp(NAMED.format("photoshop:DateCreated", "1975-06-07")), "1975-06-07T00:00:00+00:00"),
        (xmp(NAMED.format("e:DateTimeOriginal", "0000")), "2020-02-03T04:05:06.500000+00:00"),
        (xmp('<rdf:Description xmp:ModifyDate="2020-01-01"/>'), None),
        (DATED[:-40], None),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + DATED[DATED.index(b"<x:") :], None),
        (b"<a>" * 100_000, None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
def test_where_exif_has_no_date_xmp_has_one(packet: bytes, expected: str | None) -> None:
    found = facts_from_metadata(Metadata(exif={}, xmp=packet, texts={}), FILE_TIME)
    source = "file" if expected is None else "xmp"
    assert (found.sort_at.isoformat(), found.date_source) == (
        expected or FILE_TIME.isoformat(),
        source,
    )


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_every_format_keeps_its_xmp(image_format: str) -> None:
    file = io.BytesIO()
    options: dict[str, Any] = {"xmp": DATED}
    if image_format == "PNG":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", DATED.decode(), zip=True)
        options = {"pnginfo": text}
    elif image_format == "TIFF":
        options = {"tiffinfo": {700: DATED}}
    Image.new("RGB", (16, 16)).save(file, image_format, **options)
    photo = decode_bytes(file.getvalue(), max_pixels=1000, max_bytes=10**6, name="a")
    assert photo.taken_at is not None
    assert (photo.taken_at.year, photo.date_source) == (2009, "xmp")


@pytest.mark.parametrize("name", ["a.jpg.xmp", "a.xmp", "a.XMP"])
def test_a_sidecar_date_is_used_if_the_file_has_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (2, 2)).save(path)
    (tmp_path / name).write_bytes(DATED)
    photo = decode_photo(path, max_pixels=100, max_bytes=10_000)
    assert (photo.sort_at.year, photo.date_source) == (2009, "xmp")


def test_sidecars_that_can_not_be_read_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (2, 2)).save(path)
    (tmp_path / "a.jpg.xmp").mkdir()
    (tmp_path / "a.xmp").write_bytes(b"<" * 100)
    assert decode_photo(path, max_pixels=100, max_bytes=10_000).taken_at is None


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("Creation Time", "Fri, 07 Aug 2009 06:05:04 +0200", "2009-08-07T06:05:04+02:00"),
        ("Creation Time", "2009:08:07 06:05:04", "2009-08-07T06:05:04+00:00"),
        ("Creation Time", "2009-08-07T06:05:04Z", "2009-08-07T06:05:04+00:00"),
        ("exif:DateTimeOriginal", "2009:08:07 06:05:04", "2009-08-07T06:05:04+00:00"),
        ("Creation Time", "long ago", None),
        ("Creation Time", "Fri, 07 Aug 1009 06:05:04 +0200", None),
        ("date:modify", "2009-08-07T06:05:04Z", None),
    ],
)
def test_png_texts_have_dates(key: str, text: str, expected: str | None) -> None:
    file, info = io.BytesIO(), PngInfo()
    info.add_text(key, text)
    Image.new("RGB", (2, 2)).save(file, "PNG", pnginfo=info)
    photo = decode_bytes(file.getvalue(), max_pixels=100, max_bytes=10_000, name="a")
    assert (photo.taken_at and photo.taken_at.isoformat()) == expected
    assert photo.date_source == ("png text" if expected else "file")


def test_dates_of_taking_go_before_dates_of_saving_and_exif_before_xmp() -> None:
    taken: dict[int, object] = {Base.DateTimeOriginal: "2021:07:04 18:30:05"}
    saved: dict[int, object] = {Base.DateTime: "2022:01:01 00:00:00"}
    for tags, packet, expected in (
        (taken | saved, DATED, (2021, "exif")),
        (saved, DATED, (2009, "xmp")),
        (saved, b"", (2022, "exif")),
    ):
        found = facts_from_metadata(Metadata(exif=tags, xmp=packet, texts={}), FILE_TIME)
        assert (found.sort_at.year, found.date_source) == expected


@given(st.text())
def test_no_date_text_raises(text: str) -> None:
    date = date_from_any_text(text)
    assert date is None or date.tzinfo is not None
