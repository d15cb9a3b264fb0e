"""The manifest of a library folder: models and settings it was made with, names of its vectors."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from search.errors import LibraryError, MismatchError
from search.index.payload import PAYLOAD_FORMAT
from search.records import Record
from search.settings import NEWEST_STARTER, STARTER_VERSIONS, CropRecipe

MANIFEST_NAME = "segsearch.json"
FORMAT = 2
# Thresholds of the first bundled segmenter, which do not suit its successor.
FIRST_MASKS: dict[str, Any] = {
    "points_per_side": 16,
    "pred_iou_thresh": 0.3,
    "stability_score_thresh": 0.6,
    "box_nms_thresh": 0.7,
}


class ModelName(Record):
    """Name of a model as requested, and the SHA-256 of its weights."""

    name: str
    fingerprint: str
    config: str | None = None


class MadeWith(Record):
    """What vectors were made with; those of two encoders or recipes can't be compared."""

    encoder: ModelName
    crop_recipe: CropRecipe
    crop_fingerprint: str  # of the recipe's numbers
    dim: int

    @property
    def vector_name(self) -> str:
        """Name of the vectors, derived from encoder and crop recipe."""
        made_with = fingerprint(self.encoder.fingerprint, self.crop_fingerprint)
        return f"{self.crop_recipe}_{made_with[:12]}"


class Manifest(MadeWith):
    """What a library was made with, and how photos added to it are segmented.

    The inherited fields describe the active vectors.
    """

    format: int = FORMAT
    library_id: str | None = None  # the same in the ledger and in the collections of a server
    payload_format: int = PAYLOAD_FORMAT  # of the points in the index
    masks: dict[str, Any] | None = None  # settings of the group masks; None: unknown (format 1)
    segmenter: ModelName
    qdrant: str | None = None  # None: vectors are in the library folder
    collection_prefix: str = "segsearch"
    models: str = "default"
    others: tuple[MadeWith, ...] = ()  # inactive vectors: incomplete, or active before
    before: str | None = None  # the vectors that were active before these

    def vectors(self) -> dict[str, MadeWith]:
        """What all vectors were made with, by name, the active ones first."""
        return {made.vector_name: made for made in (_active(self), *self.others)}

    def with_others(self, made: MadeWith) -> Manifest:
        """A copy that also lists these vectors, as inactive."""
        if made.vector_name in self.vectors():
            return self
        return self.model_copy(update={"others": (*self.others, made)})

    def with_active(self, made: MadeWith) -> Manifest:
        """A copy with these vectors as the active ones; the previous ones stay as inactive."""
        if made.vector_name == self.vector_name:
            return self
        rest = [each for name, each in self.vectors().items() if name != made.vector_name]
        now = {name: getattr(made, name) for name in MadeWith.model_fields}
        return self.model_copy(update={**now, "others": tuple(rest), "before": self.vector_name})

    def without(self, vector_name: str) -> Manifest:
        """A copy without these inactive vectors."""
        rest = tuple(made for made in self.others if made.vector_name != vector_name)
        before = None if self.before == vector_name else self.before
        return self.model_copy(update={"others": rest, "before": before})

    def defaults(self) -> dict[str, Any]:
        """The library's own settings, which replace the defaults.

        For the first bundled segmenter, which is no longer there, those of its successor.
        """
        is_first = self.segmenter.name == STARTER_VERSIONS[0]
        masks = {
            name: value
            for name, value in (self.masks or {}).items()
            if not (is_first and value == FIRST_MASKS.get(name))
        }
        return {
            "models": self.models,
            "segmenter": NEWEST_STARTER if is_first else self.segmenter.name,
            "segmenter_config": self.segmenter.config,
            "encoder": self.encoder.name,
            "crop_recipe": self.crop_recipe,
            "qdrant": self.qdrant,
            "collection_prefix": self.collection_prefix,
            **masks,
        }


def _active(manifest: Manifest) -> MadeWith:
    return MadeWith(**{name: getattr(manifest, name) for name in MadeWith.model_fields})


def fingerprint(*parts: object) -> str:
    """SHA-256 (hex) of JSON-serializable values, independent of key order."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def load_manifest(library: Path) -> Manifest | None:
    """Read the manifest of a library folder; None if there is none yet.

    Raises:
        LibraryError: the file is invalid.
    """
    path = library / MANIFEST_NAME
    try:
        stored = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _unreadable(path, str(error)) from error
    made_as = _format_of(stored)
    if made_as is not None and made_as > FORMAT:  # its other keys may differ as well
        raise LibraryError(
            f"{path} has format {made_as}, this segsearch reads {FORMAT}", remedy="newer_version"
        )
    try:
        return _versioned(Manifest.model_validate(_migrated(stored, made_as or FORMAT)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _unreadable(path, f"{where}: {first['msg']}" if where else first["msg"]) from error


def _versioned(manifest: Manifest) -> Manifest:
    """Return the manifest with the version in the names of bundled models: there was but the first.

    The format stays: who reads the new name without knowing it says that there is no such model.
    """
    others = tuple(
        made.model_copy(update={"encoder": _with_version(made.encoder)}) for made in manifest.others
    )
    named = {name: _with_version(getattr(manifest, name)) for name in ("segmenter", "encoder")}
    return manifest.model_copy(update={**named, "others": others})


def _with_version(model: ModelName) -> ModelName:
    name = STARTER_VERSIONS[0] if model.name == "starter" else model.name
    return model.model_copy(update={"name": name})


def _format_of(stored: Any) -> int | None:  # noqa: ANN401  (any JSON)
    """The format version of a manifest; None if it is missing or invalid."""
    made_as = stored.get("format") if isinstance(stored, dict) else None
    return made_as if isinstance(made_as, int) and made_as > 0 else None


def _migrated(stored: dict[str, Any], made_as: int) -> dict[str, Any]:
    """Migrate a manifest of an earlier format to the current one."""
    for step in STEPS[made_as - 1 :]:
        stored = step(stored)
    return stored


def _from_1_to_2(stored: dict[str, Any]) -> dict[str, Any]:
    """Add the library id, which is read from the ledger later, and the payload format."""
    return {**stored, "format": 2, "library_id": None, "payload_format": 1, "masks": None}


STEPS = (_from_1_to_2,)  # STEPS[i] migrates format i + 1 to the next


def _unreadable(path: Path, reason: str) -> LibraryError:
    return LibraryError(
        f"{path} can't be read as a segsearch manifest ({reason})", remedy="restore_manifest"
    )


def save_manifest(library: Path, manifest: Manifest) -> None:
    """Write the manifest atomically; one of an earlier format is kept as a copy."""
    library.mkdir(parents=True, exist_ok=True)
    _keep_earlier_format(library)
    draft = library / f"{MANIFEST_NAME}.new"
    with draft.open("w") as file:
        file.write(manifest.model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())  # or a power cut may leave an empty file
    draft.replace(library / MANIFEST_NAME)


def _keep_earlier_format(library: Path) -> None:
    """Copy a manifest of an earlier format, once, before it is replaced."""
    try:
        text = (library / MANIFEST_NAME).read_bytes()
        made_as = _format_of(json.loads(text))
    except (OSError, ValueError):
        return  # missing or invalid
    kept = library / f"{MANIFEST_NAME}.format-{made_as}"
    if made_as is not None and made_as < FORMAT and not kept.exists():
        kept.write_bytes(text)


def check_same_encoder(
    manifest: Manifest, encoder: ModelName, crop_recipe: CropRecipe, crop_fingerprint: str
) -> None:
    """Refuse to mix vectors of two encoders or crop recipes.

    Raises:
        MismatchError: the library's vectors can't be compared with this encoder's.
    """
    if manifest.encoder.fingerprint != encoder.fingerprint:
        raise MismatchError(
            f"this library was made with the encoder {manifest.encoder.name!r} "
            f"({manifest.encoder.fingerprint[:12]}), not with {encoder.name!r} "
            f"({encoder.fingerprint[:12]})",
            setting="encoder",
            expected=manifest.encoder.name,
            actual=encoder.name,
        )
    if (manifest.crop_recipe, manifest.crop_fingerprint) != (crop_recipe, crop_fingerprint):
        raise MismatchError(
            f"this library was made with the crop recipe {manifest.crop_recipe!r} "
            f"({manifest.crop_fingerprint[:12]}), not {crop_recipe!r} ({crop_fingerprint[:12]})",
            setting="crop_recipe",
            expected=manifest.crop_recipe,
            actual=crop_recipe,
        )


def check_same_segmenter(manifest: Manifest, segmenter: ModelName) -> None:
    """Refuse to mix masks of two segmenters by mistake.

    The bundled segmenter may follow its earlier version, which is no longer there.

    Raises:
        MismatchError: the library's photos were segmented by another segmenter.
    """
    if manifest.segmenter.name in STARTER_VERSIONS[:-1] and segmenter.name == NEWEST_STARTER:
        return
    if manifest.segmenter.fingerprint != segmenter.fingerprint:
        raise MismatchError(
            f"this library's photos were segmented by {manifest.segmenter.name!r} "
            f"({manifest.segmenter.fingerprint[:12]}), not by {segmenter.name!r} "
            f"({segmenter.fingerprint[:12]})",
            setting="segmenter",
            expected=manifest.segmenter.name,
            actual=segmenter.name,
        )
