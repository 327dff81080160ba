# Longwatch: everything happens inside .venv/, and nothing is installed outside it.
# `make` names the targets. Needs make and a Python of 3.11 or later with its venv module; PYTHON=... picks one.

VENV := .venv
BIN := $(VENV)/bin
# Which checkout the environment was made for and is complete for: a moved checkout gets a new one.
STAMP := $(VENV)/complete-for
PYTHON ?=
PYTHONS := python3 python3.13 python3.12 python3.11 python
UPGRADE ?=
TESTS ?= tests
# For `make accuracy`: the corpora. ARGS: what else to say to it, and to `make bench`.
DATA ?=
ARGS ?=
# How many files of tests run at a time; each of these processes has a broker of its own. 0: one file after the other.
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONNOUSERSITE := 1

MADE_FOR := $(shell [ -x $(BIN)/python ] && cat $(STAMP) 2>/dev/null)
ifneq ($(MADE_FOR),$(CURDIR))
.PHONY: $(STAMP)
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fix lock docs accuracy bench wheel clean

help: ## name the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 16

setup: $(STAMP) ## make .venv/ (once: about 1 GB to download and 6 GB on disk on Linux, most of it torch)

$(STAMP): requirements/dev.txt pyproject.toml
ifneq ($(MADE_FOR),$(CURDIR))
	@for candidate in $(or $(PYTHON),$(PYTHONS)); do \
	    "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	    candidate=; \
	done; \
	if [ -z "$$candidate" ]; then \
	    echo "Longwatch needs Python 3.11 or later with its venv module. Looked for: $(or $(PYTHON),$(PYTHONS))." >&2; \
	    echo "Install it (Debian, Ubuntu: apt install python3 python3-venv) or name it: make PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	echo "Longwatch: making $(VENV)/ with $$("$$candidate" --version). A few minutes and some gigabytes, once." >&2; \
	{ [ ! -L $(VENV) ] || rm $(VENV); } && rm -f $(STAMP) && "$$candidate" -m venv --clear $(VENV)
endif
	@$(BIN)/python -m pip install --quiet --no-compile --require-hashes --requirement requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index --editable .
	@printf '%s' '$(CURDIR)' > $(STAMP)

demo: $(STAMP) ## a real broker, a fleet of streams, faults and the alerts they raise; Ctrl-C ends it
	@$(BIN)/longwatch demo

test: $(STAMP) ## the whole test suite
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

check: $(STAMP) ## format, lint, types, import contracts, house style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/house

fix: $(STAMP) ## format, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(STAMP) ## resolve requirements/*.txt anew from pyproject.toml; UPGRADE=1 lets pins move
	@for set in run dev; do \
	    extra=; [ $$set = run ] || extra="--extra $$set"; \
	    $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	        $(if $(UPGRADE),--upgrade) $$extra --output-file requirements/$$set.txt pyproject.toml || exit 1; \
	done

docs: $(STAMP) ## write the generated pages and config/schema.json anew
	$(BIN)/python -m daemon.config .
	$(BIN)/python -c 'import pathlib, daemon.formats as f, daemon.formats.page as p; pathlib.Path("docs/formats.md").write_text(p.page(f.FORMATS.values()), "utf-8")'
	$(BIN)/python -c 'import pathlib, daemon.metrics_page as m; pathlib.Path("docs/metrics.md").write_text(m.reference(), "utf-8")'

accuracy: $(STAMP) ## every detector over the public corpora in DATA=DIR; ARGS="--only nab --seeds 1 ..." (benchmarks/README.md)
	@[ -n "$(DATA)" ] || { echo "make accuracy DATA=DIR: name a directory with nab, asd, smd and skab, or some of them" >&2; exit 2; }
	@$(BIN)/python -m benchmarks.accuracy "$(DATA)" $(ARGS)

bench: $(STAMP) ## the table of speed and scale, as ratios; half an hour; ARGS="--only kernel ..." (benchmarks/README.md)
	@$(BIN)/python -m benchmarks.table $(ARGS)

wheel: $(STAMP) ## build dist/longwatch-*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir dist .

clean: ## remove .venv/ and every cache
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
