"""Pictures over HTTP: sent once, kept on disk in a few sizes, in the form that is liked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from support.servers.api_samples import SAMPLE, Served, assert_problem, pixels, served_sample

from api.library.image_cache import FOLDER, ImageCache
from search.masks.rle import array_from_mask, enlarged, mask_from_array, resized
from search.records import Mask, MaskArray


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_sample(tmp_path_factory.mktemp("images")) as sample:
        yield sample


def paths(served: Served) -> list[str]:
    photo = f"/v1/photos/{served.photos['flat.png']}"
    segment = f"/v1/segments/{served.block('red')['segment_id']}"
    return [
        f"{photo}/image",
        f"{photo}/image?size=40",
        f"{photo}/overlay.png",
        f"{segment}/crop",
        f"{segment}/crop?background=white",
        f"{segment}/crop.png",
        f"{segment}/mask",
        f"{segment}/mask?size=full",
        f"{segment}/mask?format=rle",
        f"{segment}/mask.png?size=full",
        f"{segment}/tile.jpg",
        f"{segment}/tile.jpg?size=60",
    ]


def test_an_image_is_sent_once(served: Served) -> None:
    tags = []
    for path in paths(served):
        first = served.http.get(path)
        assert first.status_code == 200, path
        tags.append(first.headers["etag"])
        again = served.http.get(path, headers={"If-None-Match": f'"other", {tags[-1]}'})
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["etag"] == tags[-1]
        assert again.headers["cache-control"] == first.headers["cache-control"]
        other = served.http.get(path, headers={"If-None-Match": '"other"'})
        assert other.content == first.content
    # crop and crop.png, and so on, are the same picture; the others are each their own
    assert len(set(tags)) == len(tags) - 2


def test_immutable_images_are_cached_and_overlays_revalidated(
    served: Served,
) -> None:
    for path in paths(served):
        kept = served.http.get(path).headers["cache-control"]
        assert "private" in kept  # no proxy keeps other people's photos
        assert ("immutable" in kept) != ("overlay" in path)


def test_a_resegmented_photo_has_a_new_overlay(served: Served) -> None:
    path = f"/v1/photos/{served.photos['trip/scene.png']}/overlay.png"
    before = served.http.get(path).headers["etag"]
    ledger = served.library.ledger()
    row = ledger.photo(served.photos["trip/scene.png"])
    (key,) = ledger.files_of(row.photo.photo_id)
    file = ledger.file(key)
    assert file is not None
    anew = row.photo.model_copy(update={"segmented_with": "other"})
    ledger.finish_photo(anew, key, file.stamp, str(file.sha256))
    assert served.http.get(path).headers["etag"] != before
    ledger.finish_photo(row.photo, key, file.stamp, str(file.sha256))


# sizes


def test_a_few_sizes_are_cached_and_others_scaled_from_them(tmp_path: Path) -> None:
    with served_sample(tmp_path) as served:
        photo = f"/v1/photos/{served.photos['trip/large.png']}/image"
        segment_id = served.segments("trip/large.png")[0]["segment_id"]
        tile = f"/v1/segments/{segment_id}/tile.jpg"
        kept = served.library.pictures
        for path, sizes in ((photo, (320, 100, 319)), (tile, (220, 96, 219))):
            before = len(list(names(served)))
            first, *others = (pixels(served.get(path, size=size)) for size in sizes)
            assert len(list(names(served))) == before + 1
            for size, shown in zip(sizes[1:], others, strict=True):
                assert max(shown.shape[:2]) == size
                small = np.asarray(Image.fromarray(first).resize(shown.shape[1::-1]))
                assert np.abs(shown.astype(int) - small).mean() < 12
        # the photo is out of reach now: what is kept is shown all the same
        (tmp_path / "photos" / "trip" / "large.png").unlink()
        assert served.get(photo, size=200).status_code == 200
        assert served.get(tile, size=220).status_code == 200
        assert_problem(served.get(photo, size=400), 404)
        kept.forget([served.photos["trip/large.png"]])
        assert_problem(served.get(photo, size=200), 404)


def names(served: Served) -> Iterator[str]:
    """What is kept of pictures."""
    cache: Any = served.library.pictures._cache
    yield from cache or ()


def of_database(folder: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / FOLDER / "cache.db")) as db:
        assert db.execute(sql, values).rowcount == 1
        db.commit()


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_damaged_cached_image_is_rendered_again(tmp_path: Path, size: int) -> None:
    kept = ImageCache(tmp_path, max_bytes=1_000_000)
    picture = bytes(size)
    assert kept.get("one", "a", lambda: picture) == picture
    if size > 50_000:  # in a file of its own
        [path] = (tmp_path / FOLDER).rglob("*.val")
        path.write_bytes(b"x" * size)
    else:
        of_database(tmp_path, "UPDATE Cache SET value = ?", b"x" * size)
    assert kept.get("one", "a", lambda: picture) == picture
    assert kept.get("one", "a", lambda: b"not asked for: it is kept again") == picture


@pytest.mark.parametrize("name", ["../secret", "../../secret", "{absolute}"])
def test_a_planted_cache_entry_never_reaches_outside_files(tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    kept = ImageCache(tmp_path, max_bytes=1_000_000)
    picture = bytes(100_000)
    kept.get("one", "a", lambda: picture)
    secret.write_bytes(b"secret")
    (tmp_path / FOLDER / "secret").write_bytes(b"secret")
    named = name.format(absolute=secret)
    of_database(tmp_path, "UPDATE Cache SET filename = ?, size = 6", named)
    assert kept.get("one", "a", lambda: picture) == picture
    kept.forget(["a"])
    assert secret.read_bytes() == b"secret"


def test_the_cache_evicts_least_recently_used_images(tmp_path: Path) -> None:
    kept = ImageCache(tmp_path, max_bytes=1_000_000)
    for number in range(40):
        kept.get("always", "a", lambda: bytes(50_000))
        kept.get(f"{number}", "b", lambda: bytes(50_000))
    assert kept.size_bytes() < 1_300_000
    assert kept.get("always", "a", lambda: b"anew") == bytes(50_000)
    assert kept.get("0", "b", lambda: b"anew") == b"anew"
    kept.close()


def test_the_cache_persists_unless_switched_off(tmp_path: Path) -> None:
    first = ImageCache(tmp_path, max_bytes=1_000_000)
    first.get("one", "a", lambda: b"first")
    first.close()
    second = ImageCache(tmp_path, max_bytes=1_000_000)
    assert second.get("one", "a", lambda: b"second") == b"first"
    second.close()
    off = ImageCache(tmp_path / "off", max_bytes=0)
    assert off.get("one", "a", lambda: b"made") == b"made"
    assert not (tmp_path / "off" / FOLDER).exists()


def test_a_damaged_or_planted_cache_does_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"no database" * 100)
    damaged = ImageCache(tmp_path, max_bytes=1_000_000)
    assert damaged.get("one", "a", lambda: b"made") == b"made"
    damaged.close()
    (folder / "cache.db").unlink()
    planted = ImageCache(tmp_path, max_bytes=1_000_000)
    planted._opened().set("one", Exploding())
    assert planted.get("one", "a", lambda: b"made") == b"made"
    planted.close()


class Exploding:
    """Fails when it is unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("a pickle was loaded",)


# forms


@pytest.mark.parametrize("form", ["png", "webp"])
def test_crops_and_masks_are_lossless_in_both_formats(served: Served, form: str) -> None:
    segment = served.block("red")
    path = f"/v1/segments/{segment['segment_id']}"
    crop = served.get(f"{path}/crop", format=form, background="transparent")
    assert crop.headers["content-type"] == f"image/{form}"
    as_png = pixels(served.get(f"{path}/crop.png", background="transparent"))
    assert np.array_equal(pixels(crop), as_png)
    mask = pixels(served.get(f"{path}/mask", format=form))
    grey = mask if mask.ndim == 2 else mask[..., 0]
    assert np.array_equal(grey, mask_array(segment) * 255)


def mask_array(segment: dict[str, Any]) -> MaskArray:
    height, width = segment["mask"]["size"]
    return array_from_mask(Mask(size_wh=(width, height), counts=segment["mask"]["counts"]))


def test_a_mask_is_available_as_rle_and_polygons(served: Served) -> None:
    for segment in served.segments("trip/large.png")[:4]:
        path = f"/v1/segments/{segment['segment_id']}/mask"
        assert served.get(path, format="rle").json() == segment["mask"]
        stored = mask_array(segment)
        for size, inside in (
            ("stored", stored),
            ("full", resized(stored, SAMPLE["trip/large.png"][0].shape[1::-1])),
        ):
            found = served.get(path, format="polygon", size=size).json()
            assert found["size"] == list(inside.shape)
            assert np.array_equal(filled(found), inside)
            full = served.get(path, format="rle", size=size).json()
            assert full["counts"] == mask_from_array(inside).counts


def filled(outlines: dict[str, Any]) -> MaskArray:
    """Fill by the even-odd rule: pixels whose middle is inside an odd number of outlines."""
    height, width = outlines["size"]
    inside = np.zeros((height, width), bool)
    for flat in outlines["polygons"]:
        corners = list(zip(flat[::2], flat[1::2], strict=True))
        # Twice the size, so that edges lie between the middles of pixels.
        image = Image.new("L", (2 * width + 1, 2 * height + 1))
        ImageDraw.Draw(image).polygon([(2 * x, 2 * y) for x, y in corners], fill=1)
        inside ^= np.asarray(image)[1::2, 1::2] > 0
    return inside


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "png"),
        ("*/*", "png"),
        ("image/avif,image/webp,image/*,*/*;q=0.8", "webp"),  # as browsers ask for images
        ("image/webp;q=0.5, image/png;q=0.9", "png"),
        ("image/png;q=0, */*;q=0.1", "webp"),
        ("application/json", "rle"),
        ("IMAGE/WEBP", "webp"),
        ("text/html", "png"),
        ("image/webp;q=x;;,=", "png"),
    ],
)
def test_the_format_follows_the_accept_header(served: Served, accept: str, form: str) -> None:
    path = f"/v1/segments/{served.block('red')['segment_id']}/mask"
    answer = served.http.get(path, headers={"Accept": accept})
    named = served.http.get(path, params={"format": form}, headers={"Accept": accept})
    assert answer.headers["content-type"] == named.headers["content-type"]
    assert answer.content == named.content
    assert answer.headers["vary"] == "Accept"
    assert "vary" not in named.headers


def test_an_unknown_format_is_refused(served: Served) -> None:
    segment = f"/v1/segments/{served.block('red')['segment_id']}"
    assert_problem(served.get(f"{segment}/crop", format="gif"), 422, "format", "'png'")
    assert_problem(served.get(f"{segment}/mask", format="svg"), 422, "format", "'polygon'")


@settings(deadline=None)
@given(st.data())
def test_an_enlarged_mask_equals_the_resized_pixels(data: st.DataObject) -> None:
    small_wh = data.draw(st.tuples(*[st.integers(1, 40)] * 2), "size")
    more_wh = data.draw(st.tuples(*[st.integers(-3, 150)] * 2), "more")
    width, height = (max(1, a + b) for a, b in zip(small_wh, more_wh, strict=True))
    rng = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    mask_hw = rng.random(small_wh[::-1]) < data.draw(st.sampled_from([0, 0.1, 0.6, 1]), "share")
    expected = mask_from_array(resized(mask_hw, (width, height)))
    assert enlarged(mask_from_array(mask_hw), (width, height)) == expected
