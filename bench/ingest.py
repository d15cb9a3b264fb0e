"""Photo to searchable: segsearch's ingest against the way a tutorial would do it.

Same photos, same models (the bundled starter pair), in alternation in one process. The tutorial:
sam2's SAM2AutomaticMaskGenerator with its defaults but for the starter's thresholds, each mask's
box cropped and sent through the image processor and the encoder one by one, one upsert a photo into
qdrant-client's local mode on disk. Ours: `ingest.pipeline.ingest` as the command runs it, with two
views of each segment (the tutorial embeds one). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from api.library.library import Library
from api.settings import Settings
from ingest.pipeline import ingest
from ingest.stats import Tally
from starter.sample_library import draw_sample_library


class Timed:
    """Anything, with the time spent in its methods added up under a name."""

    def __init__(self, inner: Any, name: str, seconds: Counter[str]) -> None:
        self._inner, self._name, self._seconds = inner, name, seconds

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._inner, attribute)
        if not callable(found):
            return found

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return found(*args, **kwargs)
            finally:
                self._seconds[self._name] += time.perf_counter() - started  # type: ignore[assignment]

        return timed


class Quiet:
    """No progress."""

    def start(self, photos: int) -> None:
        """Say nothing."""

    def show(self, tally: Tally) -> None:
        """Say nothing."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="alternations")
    parser.add_argument("--device", default=os.environ.get("DEVICE", "cpu"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="segsearch-bench-"))
    try:
        paths = draw_sample_library(folder / "photos", photos=asked.photos).paths
        print(json.dumps(_compare(folder, paths, asked.rounds, asked.device)))
    finally:
        shutil.rmtree(folder)


def _compare(folder: Path, paths: Sequence[Path], rounds: int, device: str) -> dict[str, float]:
    from bench._tutorial import Tutorial

    tutorial = Tutorial(device)
    settings = Settings(library=folder / "warm", models="starter", device=device)
    with Library(settings, command="bench", create=True) as warm:
        segmenter, encoder = warm.segmenter(), warm.encoder()
    _ours(folder / "first", folder / "photos", segmenter, encoder, Counter())  # compiles
    seconds: dict[str, list[float]] = {"tutorial": [], "ours": []}
    stages: Counter[str] = Counter()
    for number in range(rounds):
        started = time.perf_counter()
        segments = tutorial.run(paths, folder / f"local{number}")
        seconds["tutorial"].append(time.perf_counter() - started)
        started = time.perf_counter()
        found = _ours(folder / f"ours{number}", folder / "photos", segmenter, encoder, stages)
        seconds["ours"].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, count in (("tutorial", segments), ("ours", found)):
        print(f"{name:10}{medians[name]:8.1f} s  {count} segments of {len(paths)} photos")
    total = sum(stages.values())
    return {
        "ratio": round(medians["tutorial"] / medians["ours"], 2),
        "photos_per_min": round(len(paths) / medians["ours"] * 60, 1),
        **{f"share_{name}": round(stages[name] / total, 3) for name in sorted(stages)},
    }


def _ours(library: Path, photos: Path, segmenter: Any, encoder: Any, stages: Counter[str]) -> int:
    """Ingest into a new library with models that are loaded already; return the segments."""
    settings = Settings(library=library, models="starter")
    with Library(
        settings,
        command="bench",
        create=True,
        segmenter=Timed(segmenter, "segment", stages),
        encoder=Timed(encoder, "embed", stages),
    ) as opened:
        context = opened.ingest_context()
        index: Any = Timed(opened.index(), "write", stages)
        context.index = lambda: index
        return ingest([photos], context, Quiet()).segments


if __name__ == "__main__":
    main()
