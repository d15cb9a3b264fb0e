"""Every command of docs/api.md and docs/serving.md, run as it stands against a served library."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image
from support.commands import serve
from support.sample import SAMPLE_PHOTOS, Sample
from support.servers.locked import site

from api.http.auth.keys import keyring_from_settings
from api.settings import Settings

DOCS = Path(__file__).parents[3] / "docs"
ADDRESS = "http://127.0.0.1:8765"
NEEDED = ("bash", "curl", "jq")
needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}"
)


def blocks(language: str, page: str = "api.md") -> list[str]:
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL
    )
    assert found
    return found


def run_bash(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script that must end well and say nothing on stderr."""
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran
    return ran


@needs_tools
def test_the_documented_commands_make_keys(stock: Path, tmp_path: Path) -> None:
    make_keys, *with_keys = blocks("bash", "serving.md")
    run_bash(make_keys, tmp_path)
    files = {"api_keys_file": tmp_path / "full.key", "read_keys_file": tmp_path / "read.key"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in files.values())
    with site(stock, tmp_path, keyring_from_settings(Settings.model_validate(files))) as here:
        address = str(here.http.base_url)
        script = "curl() { command curl -fsS -w '\\n' \"$@\"; }\n" + "".join(with_keys)
        said = run_bash(script.replace(ADDRESS, address), tmp_path).stdout
    library, search, signed_in, photos = said.splitlines()
    assert json.loads(library)["may_change"] is False
    assert json.loads(search)["hits"]
    assert signed_in == ""
    assert len(json.loads(photos)["photos"]) == json.loads(library)["photos"]


@pytest.mark.slow
@needs_tools
def test_the_documented_commands_run(own: Path, sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "segsearch.toml").write_text("points_per_side = 6")
    with serve(own) as server:
        script = "".join(blocks("bash")).replace(ADDRESS, server.address)
        assert server.address in script
        ran = run_bash(script, tmp_path)
        client = "".join(blocks("python")).replace(ADDRESS, server.address)
        hits = subprocess.run(
            [sys.executable, "-c", client], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        photos = httpx.get(f"{server.address}/v1/photos", trust_env=False).json()["photos"]
    # the ingest found all as it was, and its last event says so
    events = [json.loads(line) for line in re.findall(r"^data: (.*)$", ran.stdout, re.MULTILINE)]
    assert (events[-1]["state"], events[-1]["photos_through"]) == ("done", SAMPLE_PHOTOS)
    # the searches found something, and the unknown example was told
    assert len(hits.splitlines()) == 3
    assert "no segment has the id '00000000-0000-4000-8000-000000000000'" in ran.stdout
    # the pictures are what they are called
    for name, form in (
        ("photo.jpg", "JPEG"),
        ("tile.jpg", "JPEG"),
        ("crop.webp", "WEBP"),
        ("mask.png", "PNG"),
        ("overlay.png", "PNG"),
    ):
        with Image.open(tmp_path / name) as image:
            assert image.format == form
    assert "\n304\n" in ran.stdout
    assert len(json.loads((tmp_path / "red.json").read_text())["annotations"]) == 20
    # the photo is forgotten, and asking for it explains itself
    assert len(photos) == SAMPLE_PHOTOS - 1
    assert '"UnknownIdError"' in ran.stdout
    assert "no such field" in ran.stdout
