"""What files say of a photo, and which of them is believed.

Several files may show the same photo: a backup, a copy by a messenger without EXIF, one whose date
was corrected. A photo's facts follow what its present files say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from search.records import PhotoFacts, Record


class StatedFacts(Record):
    """What one file says of the photo that it shows."""

    facts: PhotoFacts

    @property
    def is_dated(self) -> bool:
        """Say whether it says when the photo was taken; else `sort_at` is the file's own time."""
        return self.facts.date_source != "file"


@dataclass(frozen=True)
class Statement:
    """What a file says, and when the file was last written."""

    stated: StatedFacts
    mtime_ns: int


def best_facts(said: Iterable[Statement], now: PhotoFacts, *, corrected: bool) -> PhotoFacts:
    """Return a photo's facts by what its present files say.

    A file that knows the date goes before one that does not, then the one written last (that is
    where a correction is); without any date the oldest file time counts. Camera and place come from
    the first of them that has one. What only files said that are gone is kept, unless a file that
    is there said it before and was corrected.

    Args:
        said: by the files that are present.
        now: the facts that the photo has, with its folders.
        corrected: one of the files says something else than it did.
    """
    ranked = [statement.stated for statement in sorted(said, key=_rank)]
    if not ranked:
        return now
    dates = {stated.facts.sort_at for stated in ranked}
    keeps = not corrected and not ranked[0].is_dated and now.sort_at not in dates
    facts = [*(stated.facts for stated in ranked), *([now] if keeps else [])]
    return (now if keeps else ranked[0].facts).model_copy(
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
    """Return what a file with the same content says if it was written at another time."""
    if stated.is_dated:
        return stated
    try:
        sort_at = datetime.fromtimestamp(mtime_ns / 1e9, UTC)
    except (OverflowError, OSError, ValueError):
        return stated
    return stated.model_copy(update={"facts": stated.facts.model_copy(update={"sort_at": sort_at})})


def json_from_stated(stated: StatedFacts) -> str:
    """Return what the ledger keeps: nothing of where the file lies."""
    where = {"folders": (), "hidden": False}
    bare = stated.model_copy(update={"facts": stated.facts.model_copy(update=where)})
    return bare.model_dump_json(exclude_defaults=True)


def stated_from_json(text: str | None) -> StatedFacts | None:
    """Return what was kept; None if nothing was."""
    return None if text is None else StatedFacts.model_validate_json(text)


def statements(rows: Sequence[tuple[str | None, int]], now: PhotoFacts) -> list[Statement]:
    """Return what files say, from pairs of JSON and mtime_ns.

    A file noted by a version that kept nothing is taken to say what is known.
    """
    unknown = StatedFacts(facts=now)
    return [Statement(stated_from_json(text) or unknown, mtime_ns) for text, mtime_ns in rows]
