# Needs make, Python 3.11 or newer and a package index; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python

# Scenes and training runs of the embedded miniature; `make nano DATA=elsewhere` puts them elsewhere.
DATA ?= data/scenes
TRAIN ?= 6000
TEST ?= 200

.PHONY: help setup demo test lint format nano nano-data nano-tokenizer nano-experts nano-labels nano-caption

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: $(VENV)/installed ## make .venv and install requirements.txt

$(VENV)/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements.txt
	touch $@

demo: setup ## caption the images in helpers/images and draw their labels
	$(RUN) demo.py
	$(RUN) demo_vis.py

test: setup lint ## lint and all tests
	$(RUN) -m pytest

lint: setup ## ruff's checks and its format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
