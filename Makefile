# Everything a person or CI types. `make install` needs Python 3.11 or 3.12 and nothing else.
PYTHON ?= $(shell for python in python3 python3.12 python3.11; do \
    $$python -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null \
        && echo $$python && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?=
# a test must not find the checkout by accident: isolated mode keeps the current folder off the path
PYTEST := $(BIN)/python -Im pytest

.DEFAULT_GOAL := help
.PHONY: help install demo check format test test-unit lock clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed  ## make .venv with everything, from the hashed constraints

$(VENV)/.installed: constraints/installer.txt constraints/dev.txt setup.cfg
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 or 3.12, found neither; make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r constraints/installer.txt
	$(BIN)/uv pip install --quiet --system-certs --compile-bytecode --python $(BIN)/python \
	    --require-hashes -r constraints/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: install  ## train, package, serve, send the request, show the predictions
	$(BIN)/python models/california_housing/demo.py $(if $(DATA),--data $(DATA))

check: install  ## format, lint, types, unit tests and doctests: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) --numprocesses 2 --dist worksteal tests/unit --doctest-modules packaging/pyfunc_packaging runtime/mlserver_pyfunc

test: check  ## check, then everything that serves, installs or runs end to end
	$(PYTEST) tests/serving tests/e2e tests/install

format: install  ## format the code and sort the imports
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

lock: install  ## resolve the constraints anew; the files agree with one another
	$(BIN)/uv pip compile --system-certs --quiet setup.cfg --extra dev $(LOCK) -o constraints/dev.txt
	for extra in packaging runtime pyfunc; do \
	    $(BIN)/uv pip compile --system-certs --quiet setup.cfg --extra $$extra -c constraints/dev.txt $(LOCK) \
	        -o constraints/$$extra.txt; \
	done
	echo kserve-storage | $(BIN)/uv pip compile --system-certs --quiet - $(LOCK) \
	    -o constraints/kserve-storage.txt
	echo uv | $(BIN)/uv pip compile --system-certs --quiet - -c constraints/dev.txt $(LOCK) -o constraints/installer.txt

LOCK := --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade

clean:  ## remove what the targets above made
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .demo *.egg-info
