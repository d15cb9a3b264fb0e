"""Ingest as examples on the web put these libraries together: what `bench.ingest` is compared with.

A module of its own, since `bench.ingest` is imported once more by each process that decodes photos.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from qdrant_client import QdrantClient, models
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from transformers import CLIPImageProcessor, VisionTextDualEncoderModel

from api.library.models import PRESETS, STARTER, load_segmenter
from api.settings import Settings
from ingest.segmentation.sam2 import Sam2Segmenter
from starter import weights_dir


class Tutorial:
    """The plain way, as examples on the web put these libraries together."""

    def __init__(self, device: str) -> None:
        encoder = VisionTextDualEncoderModel.from_pretrained(weights_dir() / "encoder")
        self._encoder = encoder.float().eval().to(device)
        self._processor = CLIPImageProcessor.from_pretrained(weights_dir() / "encoder")
        settings = Settings(models=STARTER, segmenter=STARTER, device=device, precision="float32")
        segmenter = load_segmenter(settings)
        assert isinstance(segmenter, Sam2Segmenter)
        names = {"points_per_side", "pred_iou_thresh", "stability_score_thresh", "box_nms_thresh"}
        chosen = {name: value for name, value in PRESETS[STARTER].items() if name in names}
        self._generator = SAM2AutomaticMaskGenerator(segmenter.model, **chosen)
        size = segmenter.model.image_size
        self._generator.predictor._bb_feat_sizes = [(size // s, size // s) for s in (4, 8, 16)]

    def run(self, paths: Sequence[Path], store: Path) -> int:
        """Ingest the photos, and return how many segments were found."""
        client = QdrantClient(path=str(store))
        size = self._encoder.config.projection_dim
        parameters = models.VectorParams(size=size, distance=models.Distance.COSINE)
        client.create_collection("segments", vectors_config=parameters)
        found = sum(self._photo(path, client) for path in paths)
        client.close()
        return found

    def _photo(self, path: Path, client: QdrantClient) -> int:
        with Image.open(path) as image:
            photo = ImageOps.exif_transpose(image).convert("RGB")
        masks = self._generator.generate(np.array(photo))
        points = [self._point(photo, mask, path) for mask in masks if mask["area"]]
        if points:
            client.upsert("segments", points)
        return len(points)

    def _point(self, photo: Image.Image, mask: dict[str, Any], path: Path) -> models.PointStruct:
        x, y, w, h = mask["bbox"]
        crop = photo.crop((int(x), int(y), int(x + w) + 1, int(y + h) + 1))
        inputs = self._processor(images=crop, return_tensors="pt").to(self._encoder.device)
        with torch.no_grad():
            features = self._encoder.get_image_features(**inputs)
        vector = getattr(features, "pooler_output", features)[0].tolist()
        payload = {"path": str(path), "bbox": mask["bbox"], "area": int(mask["area"])}
        return models.PointStruct(id=str(uuid.uuid4()), vector=vector, payload=payload)
