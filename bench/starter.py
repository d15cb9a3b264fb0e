"""How good the starter models are: `make bench-starter DATA=FOLDER`.

FOLDER holds real photos with true masks (training/evaluation/photos.py); make hands it on in the
environment. Without it only drawn scenes are measured. ARGS="--limit 20" is quicker; `python -m
training.evaluation.evaluate --help` lists what else there is. The last line is JSON.
"""

from __future__ import annotations

import os
import sys

from training.evaluation.evaluate import main

if __name__ == "__main__":
    data = os.environ.get("DATA")
    sys.exit(main([*(["--data", data] if data else []), *sys.argv[1:]]))
