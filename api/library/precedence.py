"""Precedence between requested settings and those that a library was made with."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from api.library.models import with_preset
from api.settings import Settings
from search.errors import MismatchError
from search.manifest import Manifest


def remembered(
    requested: Settings, manifest: Manifest, differing: Collection[str]
) -> dict[str, Any]:
    """Settings of the manifest that replace defaults.

    Args:
        requested: the settings that were given.
        manifest: of the library.
        differing: settings that may differ from the manifest.
    """
    known, given = manifest.defaults(), requested.model_fields_set
    if "encoder" in differing and "models" in given:
        known.pop("encoder", None)  # the encoder of the requested pair
    if _asks_for_other_segmenter(requested, manifest):  # its masks need other thresholds
        known = {name: known[name] for name in known if name not in (manifest.masks or {})}
    if "effort" in given:
        known.pop("points_per_side", None)
    return known


def _asks_for_other_segmenter(requested: Settings, manifest: Manifest) -> bool:
    named = {"segmenter", "models"} & requested.model_fields_set
    return bool(named) and with_preset(requested).segmenter != manifest.segmenter.name


def check_requested(
    requested: Settings, manifest: Manifest, folder: Path, differing: Collection[str]
) -> None:
    """Compare encoder, crop recipe, segmenter and store by name, before anything is loaded.

    Whether collections on another server belong to the library is checked when they are opened.

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
    if "models" in requested.model_fields_set:
        requested = with_preset(requested)
    for name, made in made_with.items():
        given = getattr(requested, name)
        is_set = name in requested.model_fields_set and name not in differing
        if is_set and given not in (None, made):
            raise MismatchError(
                f"the library {folder} was made with {name} {made!r}, not {given!r}",
                setting=name,
                expected=made,
                actual=given,
            )
