"""The page in a real Chromium, before a library that was made with the starter models."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pycocotools import mask as coco_mask
from support.commands import serve
from support.copies import copied
from support.fakes import WORDS, Quiet, make_library
from support.sample import SAMPLE_PHOTOS, Sample
from support.servers.browser import NARROW_WH, Visit, chromium, launched, visiting
from support.servers.locked import FULL_KEY, KEYRING, READ_KEY, site
from support.servers.served import serving

from api.http.app import create_app
from api.http.routes.web import WEB, bundle_modules, page_files
from api.library.library import Library
from api.settings import Settings
from ingest.pipeline import ingest
from ingest.stats import Tally
from starter.drawing.photo_file import Camera, Capture, save_photo
from starter.scenes import draw_scene

JOB_WITHIN_MS = 120_000  # models load in a process of their own, on a busy machine
DATE_FIELDS = {"taken_from", "taken_before", "undated"}
FEW_NODES = 1500  # of the whole document, however long the library is
MONTHS = [f"{year}-{month:02}" for year in range(2000, 2025) for month in range(1, 13)]
EACH_MONTH = 334  # so that there are a hundred thousand photos
RUNNING: dict[str, Any] = {
    "job_id": "7b0f2f1e-6d8c-4c55-9d0e-2f6f2a6a7f10",
    "state": "running",
    "photos_seen": 40,
    "photos_through": 10,
    "photos_ingested": 8,
    "segments": 300,
    "seconds": 5.0,
    "message": None,
}


def _missing() -> str:
    if chromium() is None:
        return "there is no Chromium; install it, or name it in CHROMIUM"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "there is no playwright; pip install playwright"
    return ""


in_browser = [pytest.mark.browser, pytest.mark.skipif(bool(_missing()), reason=_missing())]


def browser_test(test: Any) -> Any:
    """Mark a test that needs Chromium."""
    for mark in in_browser:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def address(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page") / "library"
    copied(sample.library, folder)
    with (
        Library(Settings(library=folder), command="test") as library,
        serving(create_app(library, warm=True)) as address,
    ):
        yield address


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture
def visit(chrome: Any, address: str) -> Iterator[Visit]:
    """The page, which must not complain nor ask other hosts, whatever a test does."""
    with visiting(chrome, address) as visit:
        yield visit
        assert visit.complaints == []
        assert visit.foreign == []


def photo_path(visit: Visit, sample: Sample, words: str) -> tuple[str, tuple[float, float]]:
    """The address of the photo that shows something, and where: its middle, in shares of 1."""
    seen = sample.drawn.answers[words][0]
    photos = visit.page.request.get(f"{visit.address}/v1/photos").json()["photos"]
    photo = next(each for each in photos if each["path"] == str(seen.path))
    x, y, w, h = seen.box_xywh
    width, height = photo["size_wh"]
    return f"/photo/{photo['photo_id']}", ((x + w / 2) / width, (y + h / 2) / height)


@browser_test
def test_the_library_is_shown_by_month(visit: Visit, sample: Sample) -> None:
    visit.open()
    visit.cells.first.wait_for()
    assert visit.page.locator("h1").first.inner_text() == "All photos"
    assert f"{len(sample.drawn.paths)} photos" in visit.page.locator(".headline").first.inner_text()
    assert re.match(r"[A-Z]\w+ 20\d\d", visit.page.locator("h2").first.inner_text())
    visit.shoot("library")


@browser_test
def test_words_find_segments_and_say_what_they_are(visit: Visit) -> None:
    visit.open()
    visit.search("red circle")
    assert visit.path == "/search?q=red+circle"
    assert visit.page.locator("h1:visible").inner_text() == "“red circle”"
    assert "score" in str(visit.cells.first.get_attribute("aria-label"))
    assert visit.page.get_by_text("starter models").is_visible()
    visit.page.get_by_role("button", name="Scores").click()
    scores = visit.page.locator(".score:visible").all_inner_texts()
    assert scores == sorted(scores, key=float, reverse=True)
    assert visit.path == "/search?q=red+circle&scores=1"
    visit.shoot("results")


@browser_test
def test_results_can_be_grouped_by_photo(visit: Visit) -> None:
    visit.open("/search?q=blue")
    visit.wait_for_hits()
    visit.page.get_by_role("button", name="By photo").click()
    visit.page.wait_for_function("() => location.search.includes('by=photo')")
    visit.wait_for_hits()
    photos = [str(cell.get_attribute("href")).split("?")[0] for cell in visit.cells.all()]
    assert len(set(photos)) == len(photos)
    visit.page.locator("canvas.is-shown").first.wait_for()
    visit.shoot("by-photo")


@browser_test
def test_a_segment_lights_up_under_the_pointer_and_a_click_finds_it(
    visit: Visit, sample: Sample
) -> None:
    path, (x, y) = photo_path(visit, sample, "green circle")
    visit.open(path)
    place = visit.point(x, y)
    visit.page.mouse.move(*place)
    visit.page.locator(".stage-masks.is-on").wait_for()
    visit.shoot("photo")
    visit.page.mouse.click(*place)
    visit.page.get_by_role("button", name="Search with this segment").wait_for()
    assert "segment=" in visit.path  # so that it can be shared
    chosen = visit.path.split("segment=")[1]
    visit.shoot("photo-chosen")
    visit.page.keyboard.press("Enter")
    visit.wait_for_hits()
    assert visit.path == f"/search?plus=s:{chosen}"
    assert visit.page.locator("#chips .chip.is-plus").count() == 1


@browser_test
def test_nested_segments_are_reached_by_wheel_and_key(visit: Visit, sample: Sample) -> None:
    path, (x, y) = photo_path(visit, sample, "red boat")
    visit.open(path)
    visit.page.mouse.click(*visit.point(x, y))
    count = visit.page.locator(".nesting span")
    count.wait_for()
    assert count.inner_text().startswith("1 of ")
    visit.page.keyboard.press("]")
    assert count.inner_text().startswith("2 of ")
    visit.page.wait_for_timeout(100)
    visit.page.mouse.wheel(0, -100)
    visit.page.wait_for_function(
        "() => document.querySelector('.nesting span').textContent.startsWith('1 of ')"
    )


@browser_test
def test_what_is_no_segment_is_cut_by_clicks_and_found(visit: Visit, sample: Sample) -> None:
    path, (x, y) = photo_path(visit, sample, "green circle")
    visit.open(path)
    visit.point(x, y)  # it is shown
    visit.page.get_by_role("button", name="Cut out").click()
    visit.page.mouse.click(*visit.point(x, y))
    candidates = visit.page.locator(".preview")
    candidates.nth(1).wait_for()
    visit.page.keyboard.press("2")
    assert candidates.nth(1).get_attribute("aria-pressed") == "true"
    assert visit.path.endswith("&candidate=2")
    visit.shoot("candidates")
    visit.page.mouse.click(*visit.point(0.95, 0.05), button="right")
    visit.page.wait_for_function("() => /prompt=\\d+,\\d+;\\d+,\\d+,0$/.test(location.search)")
    visit.page.keyboard.press("u")
    visit.page.wait_for_function("() => /prompt=\\d+,\\d+$/.test(location.search)")
    visit.page.locator(".viewer:not(.is-busy) .preview").first.wait_for()
    visit.page.get_by_role("button", name="Search with this segment").click()
    visit.wait_for_hits()
    assert re.fullmatch(r"/search\?plus=p:[0-9a-f-]{36}@\d+,\d+", visit.path)


@browser_test
def test_a_dragged_box_cuts_too(visit: Visit, sample: Sample) -> None:
    path, (x, y) = photo_path(visit, sample, "blue square")
    visit.open(path)
    visit.page.mouse.move(*visit.point(x - 0.15, y - 0.15))
    visit.page.mouse.down()
    visit.page.mouse.move(*visit.point(x, y))
    visit.page.mouse.move(*visit.point(x + 0.15, y + 0.15))
    visit.page.mouse.up()
    visit.page.locator(".preview").first.wait_for()
    assert re.search(r"\?prompt=b\d+,\d+,\d+,\d+$", visit.path)


@browser_test
def test_plus_and_minus_refine_and_chips_take_them_away(visit: Visit) -> None:
    visit.open("/search?q=red")
    visit.wait_for_hits()
    first, second = visit.hits()[:2]
    tiles = visit.page.locator(".tile:visible")
    tiles.nth(0).hover()
    tiles.nth(0).get_by_label("More like this").click()
    visit.page.wait_for_function("() => location.search.includes('plus=')")
    visit.wait_for_hits()
    visit.page.locator(f"[data-segment='{second}']").hover()
    tile = visit.page.locator(".tile", has=visit.page.locator(f"[data-segment='{second}']"))
    tile.get_by_label("Less like this").click()
    visit.page.wait_for_function("() => location.search.includes('minus=')")
    visit.wait_for_hits()
    assert visit.path == f"/search?q=red&plus=s:{first}&minus=s:{second}"
    assert second not in visit.hits()[:6]
    visit.shoot("refined")
    visit.page.get_by_label("Remove: Like a segment").click()
    visit.page.wait_for_function("() => !location.search.includes('plus=')")
    visit.page.get_by_label("Words to search for").fill("red -striped")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_function("() => location.search.includes('minus=w:striped')")


@browser_test
def test_filters_count_photos_and_are_in_the_address(visit: Visit, sample: Sample) -> None:
    visit.open("/search?q=red")
    visit.wait_for_hits()
    visit.page.get_by_role("button", name="Size").click()
    visit.page.get_by_role("button", name="Small").click()
    visit.page.wait_for_function("() => location.search.includes('size=small')")
    visit.page.get_by_role("button", name="Camera").click()
    camera = visit.page.locator(".choice").first
    name, count = camera.locator("span").all_inner_texts()
    visit.shoot("filter")
    camera.click()
    visit.page.wait_for_function("() => location.search.includes('camera=')")
    visit.wait_for_hits()
    visit.page.locator(".brand").click()
    visit.page.get_by_role("button", name="Camera").click()
    visit.page.locator(".choice", has_text=name).click()
    visit.page.locator(".headline:visible", has_text=f"{count} photo").wait_for()
    visit.page.get_by_label("Any camera").click()
    visit.page.get_by_role("button", name="Date", exact=True).click()
    year = visit.page.locator(".year > .choice").first
    _, photos = year.inner_text().split()
    year.click()
    visit.page.locator(".headline:visible", has_text=f"{photos} photo").wait_for()
    assert re.search(r"\?from=\d{4}-01-01&to=\d{4}-12-31$", visit.path)


@browser_test
def test_folders_are_walked_into(visit: Visit) -> None:
    visit.open()
    folder = visit.page.locator(".folder").first
    name, count = folder.inner_text().split()
    folder.click()
    visit.page.locator("h1", has_text=name).wait_for()
    visit.page.locator(".headline:visible", has_text=f"{count} photo").wait_for()
    visit.page.get_by_role("link", name="All photos").click()
    visit.page.locator(".headline:visible", has_text=f"{SAMPLE_PHOTOS} photos").wait_for()


@browser_test
def test_the_way_back_and_an_address_bring_the_same(visit: Visit) -> None:
    visit.open()
    visit.cells.first.wait_for()
    visit.search("blue")
    before = visit.hits()
    visit.cells.nth(1).click()
    visit.page.locator(".card:visible").wait_for()
    chosen = visit.path
    visit.page.go_back()
    visit.page.locator(".viewer").wait_for(state="hidden")
    assert visit.path == "/search?q=blue"
    assert visit.hits() == before
    visit.page.go_back()
    visit.page.locator("#library h2").first.wait_for()
    assert visit.path == "/"
    visit.open(chosen)  # as someone else would
    visit.page.locator(".card:visible").wait_for()
    assert visit.path == chosen
    visit.page.keyboard.press("Escape")
    visit.page.keyboard.press("Escape")
    visit.page.locator("#library h2").first.wait_for()


@browser_test
def test_coming_back_from_a_photo_one_is_where_one_was(visit: Visit) -> None:
    visit.open("/search?q=blue")
    visit.wait_for_hits()
    third = visit.hits()[2]
    visit.page.locator(f"[data-segment='{third}']").click()
    visit.page.locator(".card:visible").wait_for()
    visit.page.go_back()
    visit.page.locator(".viewer").wait_for(state="hidden")
    visit.page.wait_for_function(f"() => document.activeElement.dataset.segment === '{third}'")
    visit.page.get_by_role("button", name="Scores").click()
    tile = visit.page.locator(".tile", has=visit.page.locator(f"[data-segment='{third}']"))
    tile.hover()
    tile.get_by_label("More like this").click()
    visit.page.wait_for_function("() => location.search.includes('plus=')")
    assert visit.path == f"/search?q=blue&plus=s:{third}&scores=1"


@browser_test
def test_everywhere_is_not_only_in_the_folder_that_was_browsed(visit: Visit) -> None:
    visit.open()
    visit.page.locator(".folder").first.click()
    visit.page.wait_for_function("() => location.search.includes('folder=')")
    visit.cells.first.click()
    visit.page.get_by_role("button", name="Search with the whole photo").click()
    visit.wait_for_hits()
    assert re.fullmatch(r"/search\?plus=p:[0-9a-f-]{36}", visit.path)
    visit.page.go_back()
    visit.page.go_back()
    visit.page.wait_for_function("() => location.search.includes('folder=')")
    visit.search("blue")  # words typed there are for what is shown there
    assert "folder=" in visit.path


def picture(words: str, sample: Sample) -> dict[str, Any]:
    """A part of a photo, as a file that a person has somewhere."""
    seen = sample.drawn.answers[words][0]
    x, y, w, h = seen.box_xywh
    with Image.open(sample.photo_of(words)) as photo:
        part = photo.convert("RGB").crop((x - 20, y - 20, x + w + 20, y + h + 20))
    file = BytesIO()
    part.save(file, "PNG")
    return {"name": "mine.png", "mimeType": "image/png", "buffer": file.getvalue()}


@browser_test
def test_a_chosen_picture_is_searched_with(visit: Visit, sample: Sample) -> None:
    visit.open()
    visit.page.locator("#choose").set_input_files(picture("green circle", sample))  # type: ignore[arg-type]
    visit.point(0.5, 0.5)
    visit.shoot("picture")
    visit.page.mouse.click(*visit.point(0.5, 0.5))
    visit.page.locator(".preview").first.wait_for()
    visit.page.keyboard.press("Enter")
    visit.wait_for_hits()
    assert re.fullmatch(r"/search\?plus=x:[0-9a-f]{20}@\d+,\d+", visit.path)
    visit.page.reload()  # the browser has kept the picture
    visit.wait_for_hits()


@browser_test
def test_a_picture_dropped_or_pasted_anywhere_is_taken(visit: Visit, sample: Sample) -> None:
    visit.open()
    visit.cells.first.wait_for()
    file = base64.b64encode(picture("green circle", sample)["buffer"]).decode()
    visit.page.evaluate(
        """(base64) => {
          const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
          const files = new DataTransfer();
          files.items.add(new File([bytes], "mine.png", { type: "image/png" }));
          const drop = (name) =>
            document.body.dispatchEvent(
              new DragEvent(name, { dataTransfer: files, bubbles: true, cancelable: true }));
          drop("dragenter");
          if (document.querySelector("#drop").hidden) throw new Error("no sign that it is taken");
          drop("drop");
        }""",
        file,
    )
    visit.page.get_by_role("button", name="Search with the whole picture").click()
    visit.wait_for_hits()
    assert re.fullmatch(r"/search\?plus=x:[0-9a-f]{20}", visit.path)


@browser_test
def test_a_picture_of_another_browser_is_asked_for_again(chrome: Any, address: str) -> None:
    with visiting(chrome, address) as visit:
        visit.open("/picture/0123456789abcdef0123")
        visit.page.get_by_text("This picture is not in this browser").wait_for()
        visit.open("/search?plus=x:0123456789abcdef0123")
        visit.page.get_by_text("Drop the picture here again").wait_for()


@browser_test
def test_a_server_that_is_gone_is_said_and_tried_again(chrome: Any, address: str) -> None:
    with visiting(chrome, address) as visit:
        visit.open()
        visit.cells.first.wait_for()
        visit.page.context.set_offline(True)
        visit.page.get_by_label("Words to search for").fill("green")
        visit.page.keyboard.press("Enter")
        visit.page.get_by_text("The server does not answer").wait_for()
        visit.shoot("error")
        visit.page.context.set_offline(False)
        visit.page.get_by_role("button", name="Try again").click()
        visit.wait_for_hits()


@browser_test
def test_examples_that_cancel_each_other_out_lead_back(chrome: Any, address: str) -> None:
    with visiting(chrome, address) as visit:
        visit.open("/search?q=red")
        visit.wait_for_hits()
        first = visit.hits()[0]
        visit.open(f"/search?plus=s:{first}&minus=s:{first}")
        visit.page.get_by_text("The examples cancel each other out").wait_for()
        visit.page.get_by_role("button", name="Go back").click()
        visit.wait_for_hits()
        assert visit.path == "/search?q=red"


@browser_test
def test_a_segment_that_slips_to_the_next_page_is_shown_once(chrome: Any, address: str) -> None:
    """As when better ones come in between: each page begins with the end of the one before."""
    shown: list[dict[str, Any]] = []

    def overlapping(route: Any) -> None:
        response = route.fetch()
        page = response.json()
        sent = [*shown[-10:], *page["hits"]]
        shown.extend(page["hits"])
        route.fulfill(response=response, json=page | {"hits": sent})

    with visiting(chrome, address) as visit:
        visit.page.route("**/v1/search", overlapping)
        visit.open("/search?q=red")
        visit.wait_for_hits()
        end = visit.page.get_by_text("End of results")
        for _ in range(600):
            if end.is_visible():
                break
            visit.page.keyboard.press("End")
            visit.page.wait_for_timeout(50)
        assert len(shown) > 60  # two pages at least
        assert f"End of results: {len(shown)} segments." in end.inner_text()


@browser_test
def test_pictures_that_are_scrolled_past_are_not_waited_for(chrome: Any, address: str) -> None:
    with visiting(chrome, address) as visit:
        asked: list[str] = []
        # nobody answers
        visit.page.route("**/v1/segments/*/*", lambda route: asked.append(route.request.url))
        visit.open("/search?q=red")
        visit.wait_for_hits()
        visit.page.wait_for_timeout(500)
        first = asked[0]
        with visit.page.expect_event("requestfailed", lambda request: request.url == first):
            visit.page.keyboard.press("End")


@browser_test
def test_unknown_photos_and_empty_libraries_say_what_to_do(chrome: Any, address: str) -> None:
    with visiting(chrome, address) as visit:
        visit.open("/photo/00000000-0000-4000-8000-000000000000")
        visit.page.get_by_text("This is not in the library").wait_for()
        visit.open("/search?q=red&from=1990-01-01&to=1990-12-31")
        visit.page.get_by_role("button", name="Remove the filters").wait_for()
        visit.open("/search")
        visit.page.get_by_text("Nothing to search for yet").wait_for()
        facts = visit.page.request.get(f"{address}/v1/library").json() | {"photos": 0}
        visit.page.route("**/v1/library", lambda route: route.fulfill(json=facts))
        visit.open()
        visit.page.get_by_text("No photos yet").wait_for()
        visit.shoot("empty")


@browser_test
def test_everything_is_reached_by_keyboard(visit: Visit) -> None:
    keys = visit.page.keyboard
    visit.open()
    visit.cells.first.wait_for()
    keys.press("/")
    keys.type("yellow")
    keys.press("Enter")
    visit.wait_for_hits()
    keys.press("ArrowDown")  # from the field into the results
    keys.press("ArrowRight")
    second = visit.hits()[1]
    focused = "() => document.activeElement.dataset.segment"
    assert visit.page.evaluate(focused) == second
    visit.shoot("focus")
    keys.press("+")
    visit.page.wait_for_function("() => location.search.includes('plus=')")
    visit.page.wait_for_function("() => document.activeElement.matches('[data-segment]')")
    keys.press("Enter")
    visit.page.locator(".card:visible").wait_for()
    keys.press("Escape")
    keys.press("ArrowRight")  # to the segments of the photo
    visit.page.wait_for_function("() => document.activeElement.matches('.dot')")
    keys.press("c")
    for _ in range(3):
        keys.press("ArrowLeft")
    keys.press(" ")
    visit.page.locator(".preview").first.wait_for()
    keys.press("1")
    keys.press("Enter")
    visit.wait_for_hits()
    assert "plus=p:" in visit.path
    keys.press("Shift+?")
    visit.page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
    visit.shoot("keys")


@browser_test
def test_a_narrow_screen_holds_everything(chrome: Any, address: str, sample: Sample) -> None:
    with visiting(chrome, address, NARROW_WH, has_touch=True, is_mobile=True) as visit:
        visit.open()
        visit.cells.first.wait_for()
        assert not visit.overflows()
        visit.shoot("narrow-library")
        visit.open("/search?q=red&scores=1")
        visit.wait_for_hits()
        assert not visit.overflows()
        visit.shoot("narrow-results")
        path, (x, y) = photo_path(visit, sample, "green circle")
        visit.open(path)
        visit.page.touchscreen.tap(*visit.point(x, y))
        visit.page.get_by_role("button", name="Search with this segment").wait_for()
        assert not visit.overflows()
        visit.shoot("narrow-photo")
        visit.page.keyboard.press("c")
        visit.page.touchscreen.tap(*visit.point(x, y))
        visit.page.locator(".preview").first.wait_for()
        assert not visit.overflows()
        visit.shoot("narrow-candidates")


@browser_test
def test_dark_is_dark(chrome: Any, address: str) -> None:
    with visiting(chrome, address, color_scheme="dark") as visit:
        visit.open("/search?q=orange&scores=1")
        visit.wait_for_hits()
        ground = visit.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert max(int(level) for level in re.findall(r"\d+", ground)[:3]) < 50
        visit.shoot("dark")


@browser_test
def test_an_update_shows_how_far_it_is(chrome: Any, address: str) -> None:
    job = RUNNING
    whole = job | {"photos_through": 0, "photos_new": 40, "photos_whole": 30}
    done = job | {"state": "done", "photos_through": 40, "photos_ingested": 31, "segments": 900}
    events = "".join(f"event: progress\ndata: {json.dumps(each)}\n\n" for each in (job, done))
    with visiting(chrome, address) as visit:
        page = visit.page
        page.route("**/v1/jobs", lambda route: route.fulfill(json={"jobs": [whole]}))
        page.route("**/v1/jobs/*", lambda route: route.fulfill(json=job))
        page.route("**/v1/jobs/*/events", lambda route: route.abort())
        visit.open()
        page.get_by_text("Whole photos: 30 of 40, 6.0/s").wait_for()
        page.get_by_text("10 of 40, 1.6/s").wait_for()
        assert page.get_by_label("Update of the library").get_attribute("value") == "10"
        visit.shoot("update")
        page.route("**/v1/jobs", lambda route: route.fulfill(json={"jobs": []}))
        page.route("**/v1/ingest", lambda route: route.fulfill(status=202, json=job))
        page.route(
            "**/v1/jobs/*/events",
            lambda route: route.fulfill(body=events, content_type="text/event-stream"),
        )
        visit.open()
        page.get_by_role("button", name="Update library").click()
        page.get_by_text("31 photos added, 900 segments.").wait_for()
        page.get_by_role("button", name="Update library").wait_for()


@browser_test
def test_new_photos_are_brought_in_while_one_looks(chrome: Any, own: Path, sample: Sample) -> None:
    (own.parent / "segsearch.toml").write_text("points_per_side = 6")  # quick: the child reads it
    photos = own.parent / "new"
    save_drawn(photos / "first.jpg", 70)
    with Library(Settings(library=own, points_per_side=6), command="test") as library:
        assert ingest([photos], library.ingest_context(), Quiet()).photos_ingested == 1
    with serve(own) as server, visiting(chrome, server.address) as visit:
        page = visit.page
        visit.open()
        page.locator(".headline:visible", has_text=f"{SAMPLE_PHOTOS + 1} photos").wait_for()
        for seed in range(71, 77):
            save_drawn(photos / f"{seed}.jpg", seed)
        page.get_by_role("button", name="Update library").click()
        page.get_by_text(re.compile(r"^\d+ of \d+")).wait_for(timeout=JOB_WITHIN_MS)
        visit.shoot("job")
        page.get_by_text("6 photos added").wait_for(timeout=JOB_WITHIN_MS)
        page.locator(".headline:visible", has_text=f"{SAMPLE_PHOTOS + 7} photos").wait_for()
        visit.shoot("job-done")
        save_drawn(photos / "late.jpg", 78)
        page.get_by_role("button", name="Update library").click()
        page.get_by_role("button", name="Stop the update").click()
        page.get_by_text("Stopped.").wait_for(timeout=JOB_WITHIN_MS)
        page.get_by_role("button", name="Update library").wait_for()
        assert visit.complaints == []


class OnlyWhole(Quiet):
    """Presses Ctrl-C once all whole photos are in."""

    def show(self, tally: Tally) -> None:
        if not tally.is_coarse_pass:
            raise KeyboardInterrupt


@pytest.fixture
def uncut(tmp_path: Path) -> Iterator[Library]:
    """Sixteen photos, four of each color on grey, which can be found as a whole; none is cut."""
    with make_library(tmp_path / "library", whole_first_from=2) as library:
        for number, (word, color) in enumerate(4 * list(WORDS.items())):
            rgb = np.full((36, 48, 3), 128, np.uint8)
            rgb[6:30, 6 + number // 4 : 42] = color
            capture = Capture(datetime(2024, 5, 1, number), Camera("Test", "One", "+00:00"))
            save_photo(rgb, capture, tmp_path / "photos" / str(number // 4) / f"{word}.png")
        ingest([tmp_path / "photos"], library.ingest_context(), OnlyWhole())
        yield library


def cut(library: Library, folder: str = "") -> None:
    """Cut the photos of a folder; each has four, one of each color."""
    ingest([library.folder.parent / "photos" / folder], library.ingest_context(), Quiet())


@browser_test
def test_photos_that_are_not_cut_are_found_whole_and_said_to_be(
    chrome: Any, uncut: Library
) -> None:
    with serving(create_app(uncut)) as address, visiting(chrome, address) as visit:
        page = visit.page
        visit.open("/search?q=green")
        page.locator(".coverage", has_text="0 of 16 photos are segmented").wait_for()
        whole = page.locator(".unsegmented:visible [data-photo]")
        assert whole.count() == 16  # all, since there is nothing else
        assert not page.get_by_text("Nothing found").is_visible()
        visit.shoot("uncut-only")
        cut(uncut, "0")
        visit.open("/search?q=green")
        visit.wait_for_hits()
        page.locator(".coverage", has_text="4 of 16 photos are segmented").wait_for()
        assert whole.count() < 12  # one row
        assert "green" in str(whole.first.get_attribute("aria-label"))
        assert "not segmented yet, score 0." in str(whole.first.get_attribute("aria-label"))
        visit.shoot("uncut")
        page.get_by_role("button", name="Show 12").click()
        assert whole.count() == 12
        page.get_by_role("button", name="By photo").click()
        visit.wait_for_hits()
        assert whole.count() > 0


@browser_test
def test_whole_photos_are_opened_refined_with_and_left_by_key(chrome: Any, uncut: Library) -> None:
    cut(uncut, "0")
    with serving(create_app(uncut)) as address, visiting(chrome, address) as visit:
        keys = visit.page.keyboard
        visit.open()
        visit.search("green")
        keys.press("ArrowDown")  # from the field to the whole photos
        keys.press("ArrowRight")
        focused = "() => document.activeElement.dataset"
        second = visit.page.evaluate(focused)["photo"]
        keys.press("ArrowDown")
        assert visit.page.evaluate(focused)["segment"] == visit.hits()[0]
        keys.press("ArrowUp")
        keys.press("ArrowRight")
        assert visit.page.evaluate(focused)["photo"] == second
        keys.press("Enter")
        visit.page.wait_for_function(f"() => location.pathname.endsWith('{second}')")
        visit.page.get_by_text("not segmented yet").last.wait_for()
        assert visit.path == f"/photo/{second}"
        visit.page.get_by_role("button", name="Next photo").click()
        visit.page.wait_for_function(f"() => !location.pathname.endsWith('{second}')")
        third = visit.path.removeprefix("/photo/")
        visit.page.locator(f".stage-frame.is-shown img[src*='{third}']").wait_for()
        visit.page.mouse.click(*visit.point(0.5, 0.5))
        visit.page.locator(".preview").first.wait_for()  # it can be cut by a click
        visit.page.go_back()
        visit.page.wait_for_function(f"() => document.activeElement.dataset.photo === '{second}'")
        keys.press("+")
        visit.page.wait_for_function("() => location.search.includes('plus=')")
        visit.wait_for_hits()
        assert visit.path == f"/search?q=green&plus=p:{second}"
        assert visit.complaints == []


@browser_test
def test_the_rest_is_cut_from_the_page_and_then_nothing_is_said_of_it(
    chrome: Any, uncut: Library
) -> None:
    cut(uncut, "0")
    events = f"event: progress\ndata: {json.dumps(RUNNING)}\n\n"
    with serving(create_app(uncut)) as address, visiting(chrome, address) as visit:
        page = visit.page
        page.route("**/v1/ingest", lambda route: route.fulfill(status=202, json=RUNNING))
        page.route("**/v1/jobs/*", lambda route: route.fulfill(json=RUNNING))
        page.route(
            "**/v1/jobs/*/events",
            lambda route: route.fulfill(body=events, content_type="text/event-stream"),
        )
        visit.open("/search?q=green")
        visit.wait_for_hits()
        before = visit.hits()
        page.get_by_role("button", name="Segment the rest").click()
        page.get_by_text("10 of 40, 1.6/s").wait_for()
        cut(uncut)  # what the job would do, with models that the test can tell
        page.get_by_role("button", name="Search again").click()
        page.locator(".coverage").wait_for(state="hidden")
        visit.wait_for_hits()
        assert len(visit.hits()) > len(before)
        assert not page.locator(".unsegmented").is_visible()
        assert not page.get_by_text("not segmented yet").is_visible()


@browser_test
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_whole_photos_fit_a_narrow_screen(chrome: Any, uncut: Library, scheme: str) -> None:
    cut(uncut, "0")
    look = {"has_touch": True, "is_mobile": True, "color_scheme": scheme}
    with (
        serving(create_app(uncut)) as address,
        visiting(chrome, address, NARROW_WH, **look) as visit,
    ):
        visit.open("/search?q=green&scores=1")
        visit.wait_for_hits()
        assert visit.page.locator(".unsegmented:visible [data-photo]").count() > 2
        assert not visit.overflows()
        visit.shoot(f"narrow-uncut-{scheme}")


def save_drawn(path: Path, seed: int) -> None:
    capture = Capture(datetime(2025, 1, 2, 3, seed - 60), Camera("Norrvik", "N2", "+00:00"))
    save_photo(draw_scene(seed, (320, 240)).image, capture, path)


@browser_test
def test_a_key_is_asked_for_and_the_same_is_asked_again(chrome: Any, address: str) -> None:
    with visiting(chrome, address) as visit:
        page, sent = visit.page, []
        refusal = {"status": 401, "json": {"title": "Unauthorized", "detail": "a key is needed"}}
        page.route("**/v1/search", lambda route: route.fulfill(**refusal))

        def sign_in(route: Any) -> None:
            sent.append(route.request.post_data_json)
            if sent[-1] == {"key": "open sesame"}:
                page.unroute("**/v1/search")
                route.fulfill(status=204)
            else:
                route.fulfill(**refusal)

        page.route("**/v1/session", sign_in)
        visit.open("/search?q=red")
        field = page.get_by_label("Key", exact=True)
        field.fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("This key is not valid.").wait_for()
        visit.shoot("sign-in")
        field.fill("open sesame")
        page.get_by_role("button", name="Sign in").click()
        visit.wait_for_hits()
        assert [each["key"] for each in sent] == ["wrong", "open sesame"]


@browser_test
def test_a_read_only_key_shows_nothing_that_it_may_not_do(
    chrome: Any, stock: Path, tmp_path: Path
) -> None:
    job = RUNNING
    with site(stock, tmp_path, KEYRING) as here:
        for key, may_change in ((READ_KEY, False), (FULL_KEY, True)):
            with visiting(chrome, str(here.http.base_url)) as visit:
                page = visit.page
                visit.open()
                page.get_by_label("Key", exact=True).fill(key)
                page.get_by_role("button", name="Sign in").click()
                visit.cells.first.wait_for()
                if may_change:
                    page.get_by_role("button", name="Update library").wait_for()
                page.route("**/v1/jobs", lambda route: route.fulfill(json={"jobs": [job]}))
                page.route("**/v1/jobs/*/events", lambda route: route.abort())
                page.route("**/v1/jobs/*", lambda route: route.fulfill(json=job))
                visit.open()  # signed in, and somebody else's update runs
                page.get_by_text("10 of 40").wait_for()
                stop = page.get_by_role("button", name="Stop the update")
                assert stop.count() == int(may_change)
                visit.shoot(f"key-{'full' if may_change else 'read-only'}")
                page.unroute("**/v1/jobs")
                visit.open()
                page.wait_for_load_state("networkidle")
                button = page.get_by_role("button", name="Update library")
                assert button.count() == int(may_change)


@browser_test
def test_days_are_those_of_the_photos_wherever_the_browser_is(chrome: Any, address: str) -> None:
    with visiting(chrome, address, timezone_id="America/Los_Angeles") as visit:
        page = visit.page
        one = page.request.get(f"{address}/v1/photos", params={"limit": 1}).json()["photos"][0]
        undated = one | {"date_source": "file", "taken_at": None}
        months = [{"value": "2023-10", "count": 1}, {"value": "2023-09", "count": 1}]
        facets = {"cameras": [], "folders": [], "months": months, "undated": 1}
        asked: list[dict[str, str]] = []

        def photos(route: Any) -> None:
            fields = dict(parse_qsl(urlsplit(route.request.url).query))
            asked.append({key: fields[key] for key in sorted(fields.keys() & DATE_FIELDS)})
            shown = undated if fields.get("undated") == "true" else one
            route.fulfill(json={"photos": [shown], "cursor": None})

        page.route("**/v1/facets*", lambda route: route.fulfill(json=facets))
        page.route("**/v1/photos?*", photos)
        visit.open()
        page.get_by_role("heading", name="Undated").wait_for()
        visit.cells.nth(2).wait_for()
        assert sorted(asked, key=str) == [
            {"taken_before": "2023-10-01T00:00:00", "undated": "false"},
            {"taken_from": "2023-10-01T00:00:00", "undated": "false"},
            {"undated": "true"},
        ]
        assert "undated, file of" in str(visit.cells.nth(2).get_attribute("aria-label"))
        page.get_by_role("button", name="Date", exact=True).click()
        page.get_by_role("button", name="September 2023, 1 photo").click()
        page.wait_for_function("() => location.search.includes('from=2023-09-01')")
        page.get_by_role("button", name="Date: September 2023").click()
        page.get_by_role("button", name="Undated, 1 photo").click()
        page.wait_for_function("() => location.search === '?undated=1'")
        assert page.get_by_role("button", name="Date: Undated").is_visible()
        visit.shoot("undated")


@browser_test
def test_a_hundred_thousand_photos_need_few_nodes(chrome: Any, address: str) -> None:
    with visiting(chrome, address) as visit:
        page = visit.page
        one = page.request.get(f"{address}/v1/photos", params={"limit": 1}).json()["photos"][0]
        counts = [{"value": month, "count": EACH_MONTH} for month in MONTHS]
        facets = {"cameras": [], "folders": [], "months": counts}
        pages: list[str] = []

        def photos(route: Any) -> None:
            pages.append(route.request.url)
            begin = int((re.findall(r"cursor=(\d+)", route.request.url) or ["0"])[0])
            end = min(begin + 200, EACH_MONTH)
            answer = {"photos": [one] * (end - begin), "cursor": None}
            route.fulfill(json=answer | {"cursor": str(end) if end < EACH_MONTH else None})

        page.route("**/v1/facets*", lambda route: route.fulfill(json=facets))
        page.route("**/v1/photos?*", photos)
        visit.open()
        visit.cells.first.wait_for()
        page.evaluate("() => scrollTo(0, document.body.scrollHeight * 0.7)")
        page.wait_for_function("() => document.querySelectorAll('.cell-link').length > 20")
        assert page.evaluate("() => document.querySelectorAll('*').length") < FEW_NODES
        assert len(pages) < 10  # only what is near the window was loaded
        visit.cells.nth(10).click()
        page.locator(".viewer").wait_for()
        middle = page.evaluate("() => scrollY")
        page.go_back()
        page.locator(".viewer").wait_for(state="hidden")
        assert page.evaluate("() => scrollY") == middle
        visit.shoot("long-library")


@browser_test
def test_masks_are_read_as_pycocotools_reads_them(visit: Visit) -> None:
    rng = np.random.default_rng(3)
    shapes = [(1, 1), (7, 5), (64, 48), (333, 500)]
    masks = [rng.random(shape) < share for shape in shapes for share in (0, 0.02, 0.5, 1)]
    masks += [np.kron(mask, np.ones((40, 30), bool)) for mask in masks[4:8]]
    rles = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    sent = [{"size": list(rle["size"]), "counts": rle["counts"].decode()} for rle in rles]
    visit.open()
    read = visit.page.evaluate(
        """async (rles) => {
          const rle = await import("/web/js/shared/rle.js");
          const { isInside, maskFromRle, pointInside, pixelsFromMask } = rle;
          return rles.map((rle) => {
            const mask = maskFromRle(rle);
            const [x, y] = pointInside(mask);
            return {
              pixels: pixelsFromMask(mask).join(""),
              middle: isInside(mask, x, y),
              corner: isInside(mask, mask.width - 1, mask.height - 1),
              beyond: isInside(mask, mask.width, 0) || isInside(mask, -1, 0),
            };
          });
        }""",
        sent,
    )
    for mask, found in zip(masks, read, strict=True):
        assert found["pixels"] == "".join(map(str, mask.astype(int).ravel()))
        assert found["middle"] == mask.any()
        assert found["corner"] == mask[-1, -1]
        assert not found["beyond"]


@pytest.fixture
def http(own: Path) -> Iterator[TestClient]:
    with Library(Settings(library=own), command="test") as library:
        yield TestClient(create_app(library), base_url="http://127.0.0.1")


@pytest.mark.parametrize("path", ["/", "/search?q=red", "/photo/1", "/picture/1"])
def test_every_address_of_the_page_gives_the_document(http: TestClient, path: str) -> None:
    answer = http.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert '<script type="module"' in answer.text
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_files_of_the_page_are_asked_for_again_but_sent_once(http: TestClient) -> None:
    first = http.get("/web/js/main.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    again = http.get("/web/js/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert not again.content


@pytest.mark.parametrize("name", ["none.js", "..%2fapp.py", "%2e%2e/app.py", "js", ""])
def test_only_files_of_the_page_can_be_had(http: TestClient, name: str) -> None:
    assert http.get(f"/web/{name}").status_code == 404


def test_what_the_page_names_is_there_and_nothing_is_elsewhere() -> None:
    files = page_files()
    for name, file in files.items():
        text = file.content.decode()
        named = re.findall(r"(?:href|src)=\"/web/([^\"]+)\"", text)
        imported = re.findall(
            r"^(?:import .* from|\} from|@import) \"([^\"]+)\"", text, re.MULTILINE
        )
        beside = {normpath(join(dirname(name), reference)) for reference in imported}
        assert {*named, *beside} <= files.keys(), name
        hosts = set(re.findall(r"https?://[\w.]+", text)) - {"http://www.w3.org"}
        assert not hosts, name
        assert "innerHTML" not in text, name
    assert {path.suffix for path in WEB.rglob("*.*")} <= {".html", ".js", ".css", ".svg"}


def test_every_module_and_style_sheet_is_in_a_bundle() -> None:
    files = page_files()
    script, styles = files["page.js"].content.decode(), files["page.css"].content.decode()
    modules = {f"// {name}" for name in files if name.startswith("js/")}
    assert modules == set(re.findall(r"^// js/.*", script, re.MULTILINE))
    sheets = [file.content.decode() for name, file in files.items() if name.startswith("css/")]
    assert all(sheet in styles for sheet in sheets if "@import" not in sheet)
    assert "@import" not in styles


def test_modules_are_bundled_in_the_order_of_evaluation_and_keep_their_names_apart() -> None:
    texts = {
        "js/main.js": 'import { one } from "./a/one.js";\n'
        'import {\n  two as other,\n} from "./two.js";\n'
        "const name = 3;\none() + other + name;\n",
        "js/a/one.js": 'import { two } from "../two.js";\nconst name = 1;\n'
        "export function one() {\n  return name + two;\n}\n",
        "js/two.js": "const name = 2;\nexport const two = name;\n",
    }
    assert bundle_modules(texts, "js/main.js") == (
        "// js/two.js\nconst module0 = (() => {\n"
        "const name = 2;\nconst two = name;\nreturn { two };\n})();\n\n"
        "// js/a/one.js\nconst module1 = (() => {\n"
        "const { two } = module0;\nconst name = 1;\n"
        "function one() {\n  return name + two;\n}\nreturn { one };\n})();\n\n"
        "// js/main.js\nconst module2 = (() => {\n"
        "const { one } = module1;\nconst {\n  two: other,\n} = module0;\n"
        "const name = 3;\none() + other + name;\nreturn {  };\n})();\n"
    )


def test_modules_that_import_each_other_are_not_bundled() -> None:
    texts = {
        "one.js": 'import { two } from "./two.js";\nexport const one = two;\n',
        "two.js": 'import { one } from "./one.js";\nexport const two = one;\n',
    }
    with pytest.raises(ValueError, match=re.escape("one.js -> two.js -> one.js")):
        bundle_modules(texts, "one.js")


@pytest.mark.parametrize(
    "line",
    ['import "./x.js";', 'import * as x from "./x.js";', "export default 1;", "export { x };"],
)
def test_other_forms_of_import_and_export_are_not_bundled(line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"main.js: can't be bundled: {line}")):
        bundle_modules({"main.js": f"{line}\n"}, "main.js")


@browser_test
def test_a_first_visit_asks_for_the_page_in_two_rounds(visit: Visit) -> None:
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    visit.open()
    visit.cells.first.wait_for()
    own = [path for path in asked if not path.startswith("/v1/")]
    assert sorted(set(own) - {"/web/icon.svg"}) == ["/", "/web/page.css", "/web/page.js"]
    assert len(own) <= 4


@browser_test
def test_the_modules_run_unbundled_too(visit: Visit) -> None:
    document = (WEB / "index.html").read_text()
    unbundled = document.replace("page.js", "js/main.js").replace("page.css", "css/main.css")
    visit.page.route(
        f"{visit.address}/", lambda route: route.fulfill(body=unbundled, content_type="text/html")
    )
    visit.open()
    visit.cells.first.wait_for()
    display = "() => getComputedStyle(document.querySelector('.top-row')).display"
    assert visit.page.evaluate(display) == "grid"


@browser_test
def test_addresses_that_are_malformed_still_show_the_page(chrome: Any, address: str) -> None:
    with visiting(chrome, address) as visit:
        visit.open("/?from=soon&size=constructor")
        visit.page.get_by_role("button", name="Date: from soon").wait_for()
        visit.open("/photo/%E0%A4")
        visit.page.locator(".viewer .message").wait_for()
        assert not [said for said in visit.complaints if "Failed to load" not in said]
