"""What a library was made with, and what is asked for now: which of the two counts."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from api.library.models import with_preset
from search.errors import MismatchError
from search.manifest import Manifest
from search.settings import Settings


def remembered(asked: Settings, manifest: Manifest, differing: Collection[str]) -> dict[str, Any]:
    """Return the settings that a library was made with, as far as nothing else was asked for.

    Args:
        asked: the settings that were given.
        manifest: of the library.
        differing: settings that may differ from the library's.
    """
    known, given = manifest.defaults(), asked.model_fields_set
    if "encoder" in differing and "models" in given:
        known.pop("encoder", None)  # it is the pair's that is meant
    if _asks_for_other_segmenter(asked, manifest):  # whose masks need other thresholds
        known = {name: known[name] for name in known if name not in (manifest.masks or {})}
    if "effort" in given:
        known.pop("points_per_side", None)
    return known


def _asks_for_other_segmenter(asked: Settings, manifest: Manifest) -> bool:
    named = {"segmenter", "models"} & asked.model_fields_set
    return bool(named) and with_preset(asked).segmenter != manifest.segmenter.name


def check_asked(
    asked: Settings, manifest: Manifest, folder: Path, differing: Collection[str]
) -> None:
    """Refuse at once what names another encoder, recipe, segmenter or store than the manifest.

    Whether a server's collections are the library's is theirs to say.

    Raises:
        MismatchError: a setting differs that may not.
    """
    made_with: dict[str, str | None] = {
        "encoder": manifest.encoder.name,
        "crop_recipe": manifest.crop_recipe,
        "segmenter": manifest.segmenter.name,
    }
    if manifest.qdrant is None:
        made_with["qdrant"] = None
        made_with["collection_prefix"] = manifest.collection_prefix
    if "models" in asked.model_fields_set:
        asked = with_preset(asked)
    for name, made in made_with.items():
        given = getattr(asked, name)
        is_asked = name in asked.model_fields_set and name not in differing
        if is_asked and given not in (None, made):
            raise MismatchError(
                f"the library {folder} was made with {name} {made!r}, not {given!r}",
                setting=name,
                expected=made,
                actual=given,
            )
