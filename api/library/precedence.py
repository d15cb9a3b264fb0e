"""Precedence between requested settings and those that a library was made with."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from api.library.models import STARTER, with_preset
from api.settings import Settings
from search.errors import MismatchError
from search.manifest import Manifest
from search.settings import STARTER_VERSIONS


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
    if not {"segmenter", "models"} & requested.model_fields_set:
        return False
    asked, made = with_preset(requested).segmenter, manifest.segmenter.name
    return asked != made and not {asked, made} <= {*STARTER_VERSIONS}


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
    named = requested.model_fields_set
    if "models" in named:
        requested = with_preset(requested)
    for name, made in made_with.items():
        if made in STARTER_VERSIONS and name not in named and requested.models == STARTER:
            continue  # the pair is the library's, in an earlier version
        given = getattr(requested, name)
        is_set = name in requested.model_fields_set and name not in differing
        if is_set and given not in (None, made):
            raise MismatchError(
                f"the library {folder} was made with {name} {made!r}, not {given!r}",
                setting=name,
                expected=made,
                actual=given,
            )
