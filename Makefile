# make app    install what is missing, then the app at http://127.0.0.1:7860
# make test   install what is missing, then lint, format, types and every test
# make venv   the virtual environment .venv alone
# make tree   rewrite the file tree and the figures in README.md
# PYTHON=... names the interpreter (3.11 or newer), ARGS=... goes to the app, TESTS=... to pytest.

SHELL := /bin/sh
.DEFAULT_GOAL := app
.PHONY: app test venv lint types tests chromium format tree clean

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
RUN := .venv/bin/python
STAMP := .venv/.installed
SOURCES := $(wildcard app.py) benchmarks neurovis pipeline tests training

venv: $(STAMP)

$(STAMP): requirements.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "make: Python 3.11 or newer is needed and none was found; install it, or name it: make venv PYTHON=/path/to/python3" >&2; exit 2; fi
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { \
		echo "make: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu install the package python3-venv" >&2; exit 2; }
	$(RUN) -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $(STAMP)

app: venv
	$(RUN) app.py $(ARGS)

test: venv chromium lint types tests

lint: venv
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: venv
	$(RUN) -m mypy

tests: venv
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile $(TESTS)

# The browser tests drive Debian's Chromium. Where it can neither be found nor installed they are skipped, and say so.
chromium:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing Chromium for the browser tests"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-liberation; } >/dev/null 2>&1 || \
			echo "make: apt-get could not install chromium; the browser tests will be skipped" >&2; \
	else \
		echo "make: Chromium is missing and can be installed only by root on Debian or Ubuntu (apt-get install chromium);" \
			"the browser tests will be skipped" >&2; \
	fi

format: venv
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

tree: venv
	$(RUN) tests/readme_tree.py
	$(RUN) tests/readme_figures.py

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
