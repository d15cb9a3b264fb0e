"""Merging the metadata of the files that show the same photo.

Several files may show one photo: a backup, a copy from a messenger without EXIF, a copy whose date
was corrected. A photo's facts are merged from its present files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from search.records import PhotoFacts, Record


class StatedFacts(Record):
    """The facts that one file states about its photo: its date, camera and location."""

    facts: PhotoFacts

    @property
    def is_dated(self) -> bool:
        """Whether the file states a date; otherwise `sort_at` is its modification time."""
        return self.facts.date_source != "file"


@dataclass(frozen=True)
class Statement:
    """The facts stated by a file, and the file's modification time."""

    stated: StatedFacts
    mtime_ns: int


def merged_facts(
    statements: Iterable[Statement], now: PhotoFacts, *, corrected: bool
) -> PhotoFacts:
    """Merge the facts stated by a photo's present files.

    Dated files rank before undated ones, and recently modified ones before older ones, since that
    is where corrections are; without any date the oldest file time counts. Camera and location come
    from the first file that has them. Facts stated only by deleted files are kept, unless a present
    file was corrected.

    Args:
        statements: of the present files.
        now: the photo's current facts, with its folders.
        corrected: whether one of the files states something else than before.
    """
    ranked = [statement.stated for statement in sorted(statements, key=_rank)]
    if not ranked:
        return now
    dates = {stated.facts.sort_at for stated in ranked}
    is_kept = not corrected and not ranked[0].is_dated and now.sort_at not in dates
    facts = [*(stated.facts for stated in ranked), *([now] if is_kept else [])]
    return (now if is_kept else ranked[0].facts).model_copy(
        update={
            "camera": next((each.camera for each in facts if each.camera), None),
            "location": next((each.location for each in facts if each.location), None),
            "folders": now.folders,
            "hidden": now.hidden,
        }
    )


def _rank(statement: Statement) -> tuple[bool, float]:
    stated = statement.stated
    if stated.is_dated:
        return False, -statement.mtime_ns
    return True, stated.facts.sort_at.timestamp()


def with_file_time(stated: StatedFacts, mtime_ns: int) -> StatedFacts:
    """Return the facts of a file with the same content and another modification time."""
    if stated.is_dated:
        return stated
    try:
        sort_at = datetime.fromtimestamp(mtime_ns / 1e9, UTC)
    except (OverflowError, OSError, ValueError):
        return stated
    return stated.model_copy(update={"facts": stated.facts.model_copy(update={"sort_at": sort_at})})


def json_from_stated(stated: StatedFacts) -> str:
    """Serialize a file's facts for the ledger, without its folders."""
    where = {"folders": (), "hidden": False}
    bare = stated.model_copy(update={"facts": stated.facts.model_copy(update=where)})
    return bare.model_dump_json(exclude_defaults=True)


def stated_from_json(text: str | None) -> StatedFacts | None:
    """Parse facts from the ledger; None where none were stored."""
    return None if text is None else StatedFacts.model_validate_json(text)


def statements_from_rows(
    rows: Sequence[tuple[str | None, int]], now: PhotoFacts
) -> list[Statement]:
    """Build statements from pairs of JSON and mtime_ns.

    Rows by versions that stored no facts are assumed to state the photo's current facts.
    """
    unknown = StatedFacts(facts=now)
    return [Statement(stated_from_json(text) or unknown, mtime_ns) for text, mtime_ns in rows]
