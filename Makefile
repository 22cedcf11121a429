# Each target does all of its own set-up. PYTHON names the interpreter the environment is made with (3.11 to 3.13).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_OPTIONS ?=
TEST_OPTIONS ?=
BENCH_OPTIONS ?=

.PHONY: help install install-dev demo test lint bench samples clean

help:
	@echo "make demo      start everything on this machine and audit the sample calls; Ctrl-C ends it"
	@echo "make test      run the tests          (TEST_OPTIONS='-k pool' for some of them)"
	@echo "make lint      ruff and pyright"
	@echo "make bench     measure, and print the README's tables"
	@echo "make install   make .venv with everything the demo needs"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mediator,llm]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mediator,llm,dev]'
	touch $@

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

demo: install
	$(BIN)/cofi dev --drop samples $(DEMO_OPTIONS)

test: install-dev
	$(BIN)/python -m pytest $(TEST_OPTIONS)

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: install-dev
	$(BIN)/python -m bench $(BENCH_OPTIONS)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
