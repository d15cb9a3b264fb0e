"""Libraries that earlier versions made: they open, search, verify and ingest.

Each archive in tests/fixtures holds `photos` and `library`, as the version in its name left them:
five small photos, of which one has a copy, one is gone, and one more file is no photo.
"""

from __future__ import annotations

import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import Commands

from ingest.catalog.migrations import FORMAT as LEDGER_FORMAT
from search.index.payload import PAYLOAD_FORMAT
from search.manifest import FORMAT as MANIFEST_FORMAT

FIXTURES = Path(__file__).parent / "fixtures"
MADE_AT = "/mnt/pictures/photos"  # where the photos were
LIBRARY = ("--library", "library")


@pytest.fixture(params=sorted(path.name for path in FIXTURES.glob("library-*.tar.xz")))
def old(request: pytest.FixtureRequest, run: Commands) -> Commands:
    """Commands in a folder with an old library and its photos."""
    with tarfile.open(FIXTURES / request.param) as archive:
        archive.extractall(filter="data")
    return run


def format_of_ledger(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def manifest() -> dict[str, object]:
    stored: dict[str, object] = json.loads(Path("library/segsearch.json").read_text())
    return stored


def test_an_old_library_opens_and_what_it_was_is_kept_beside(old: Commands) -> None:
    before = manifest()
    status = old("status", *LIBRARY, "--json").json
    assert (status["photos"], status["photos_hidden"], status["segments"]) == (4, 1, 91)
    assert manifest()["format"] == MANIFEST_FORMAT
    kept = json.loads(Path(f"library/segsearch.json.format-{before['format']}").read_text())
    assert kept == before
    assert format_of_ledger(Path("library/ledger.sqlite")) == LEDGER_FORMAT
    assert format_of_ledger(Path("library/ledger.sqlite.format-1")) == 1


def test_an_old_library_is_searched_before_anything_is_ingested(old: Commands) -> None:
    old("move-root", MADE_AT, "photos", *LIBRARY)
    hits = old("search", "red", *LIBRARY, "--limit", "100", "--json").json["hits"]
    assert len(hits) == 91
    assert hits[0]["segment_id"] == "8fda1f10-bd5f-5dcf-a2e8-12b8c08c57eb"
    for span, hits_of in (("--from", 91), ("--before", 0)):  # by the dates as they were kept then
        asked = ("red", span, "2023", *LIBRARY, "--limit", "100", "--json")
        assert len(old("search", *asked).json["hits"]) == hits_of
    again = old("search", "--segment", hits[0]["segment_id"], *LIBRARY, "--json").json["hits"]
    assert again
    assert old("verify", *LIBRARY).out.splitlines()[-1] == "all is well"


def test_an_old_library_goes_on_without_segmenting_anything_again(
    old: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    old("move-root", MADE_AT, "photos", *LIBRARY)
    monkeypatch.setattr(
        "api.library.model_registry.load_segmenter", None
    )  # nothing is to be segmented
    ran = old("ingest", "photos", *LIBRARY, "--json", code=3).json
    assert (ran["photos_unchanged"], ran["photos_ingested"]) == (5, 0)
    ids = {hit["segment_id"] for hit in found(old)}
    assert len(ids) == 91
    assert "8fda1f10-bd5f-5dcf-a2e8-12b8c08c57eb" in ids
    assert manifest()["payload_format"] == PAYLOAD_FORMAT
    dated = old("search", "red", "--from", "2023", *LIBRARY, "--limit", "100", "--json").json
    undated = old("search", "red", "--undated", *LIBRARY, "--limit", "100", "--json").json
    assert len(dated["hits"]) + len(undated["hits"]) == 91
    assert old("verify", *LIBRARY).out.splitlines()[-1] == "all is well"


def test_an_old_library_is_found_again_in_another_folder(
    old: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.library.model_registry.load_segmenter", None)
    ran = old("ingest", "photos", *LIBRARY, "--json", code=3).json
    assert (ran["photos_updated"], ran["photos_ingested"]) == (5, 0)
    assert {Path(hit["path"]).parts[-1] for hit in found(old)} >= {"DSC02040.jpg"}


def test_a_library_of_the_first_starter_models_goes_on_with_the_newest_segmenter(
    old: Commands,
) -> None:
    old("move-root", MADE_AT, "photos", *LIBRARY)
    status = old("status", *LIBRARY, "--json").json
    assert (status["segmenter"], status["encoder"]) == ("starter-1", "starter-1")
    assert (status["newer_segmenter"], status["newer_encoder"]) == ("starter-2", "starter-2")
    said = old("status", *LIBRARY).out
    assert "`segsearch ingest PHOTOS --resegment`" in said
    assert "`segsearch reembed --encoder starter-2`" in said

    pixels = np.zeros((90, 120, 3), np.uint8)
    pixels[20:70, 30:90] = (200, 30, 30)
    Image.fromarray(pixels).save("photos/new.png")
    ran = old("ingest", "photos", *LIBRARY, "--models", "starter", "--json", code=3).json
    assert (ran["photos_unchanged"], ran["photos_ingested"]) == (5, 1)
    assert "new.png" in {Path(hit["path"]).name for hit in found(old)}
    assert old("verify", *LIBRARY).out.splitlines()[-1] == "all is well"


def test_a_library_of_the_first_starter_models_is_brought_up_to_date(old: Commands) -> None:
    old("move-root", MADE_AT, "photos", *LIBRARY)
    old("reembed", "--encoder", "starter-2", *LIBRARY, code=3)  # one file is gone
    ran = old("ingest", "photos", *LIBRARY, "--resegment", "--json", code=3).json
    assert ran["photos_ingested"] == 4
    status = old("status", *LIBRARY, "--json").json
    assert (status["segmenter"], status["encoder"]) == ("starter-2", "starter-2")
    assert (status["newer_segmenter"], status["newer_encoder"]) == (None, None)
    assert found(old)


@pytest.mark.parametrize("asked", [("--encoder", "starter"), ("--segmenter", "starter-2")])
def test_another_version_that_is_named_is_no_mistake_to_pass_over(
    old: Commands, asked: tuple[str, str]
) -> None:
    said = old("ingest", "photos", *LIBRARY, *asked, code=1).err
    assert "'starter-1', not 'starter-2'" in said


def found(old: Commands) -> list[dict[str, str]]:
    hits: list[dict[str, str]]
    hits = old("search", "red", *LIBRARY, "--limit", "100", "--json").json["hits"]
    return hits
