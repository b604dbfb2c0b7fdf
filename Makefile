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
.PHONY: help install demo check docs bench bench-batch faults format test fuzz image image-test sbom audit lock clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed  ## make .venv with everything, from the hashed constraints

$(VENV)/.installed: constraints/installer.txt constraints/dev.txt setup.cfg
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 or 3.12, found neither; make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r constraints/installer.txt
	$(BIN)/uv pip install --quiet --system-certs --compile-bytecode --python $(BIN)/python \
	    --require-hashes -r constraints/dev.txt
	@# setuptools warns of what an editable installation is, in ten lines
	PYTHONWARNINGS='ignore:Editable installation' \
	    $(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: install  ## train, package, serve, send the request, show the predictions
	$(BIN)/python models/california_housing/demo.py $(if $(DATA),--data $(DATA))

check: install  ## format, lint, types, unit tests and doctests: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) --numprocesses 2 --dist worksteal tests/unit --doctest-modules packaging/pyfunc_packaging runtime/mlserver_pyfunc

test: check  ## check, then everything that compiles, serves, installs or runs end to end
	$(PYTEST) --numprocesses 2 --dist worksteal tests/compile
	$(PYTEST) --numprocesses 2 --dist loadfile tests/serving tests/conformance tests/e2e \
	    tests/docs tests/install tests/fuzz tests/faults

# the generator has an environment of its own: it reads our sources, and needs none of our libraries
.venv-docs/.installed: constraints/docs.txt | install
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-docs
	$(BIN)/uv pip install --quiet --system-certs --compile-bytecode --python .venv-docs/bin/python \
	    --require-hashes -r constraints/docs.txt
	@touch $@

docs: .venv-docs/.installed  ## build the documentation into build/site
	@# MkDocs Material prints a page about its future, and no setting turns that off but this
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
	@echo "documentation: build/site/index.html; for its search, python3 -m http.server --directory build/site"

FUZZ_SECONDS ?= 300

fuzz: install  ## look for bodies that break the decoders; FUZZ_SECONDS=300
	$(BIN)/python -I tests/fuzz/fuzz_bodies.py -max_total_time=$(FUZZ_SECONDS)

# mlserver-mlflow has an environment of its own, as it has in the images of its users
.venv-stock/.installed: constraints/stock.txt | install
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-stock
	$(BIN)/uv pip install --quiet --system-certs --compile-bytecode --python .venv-stock/bin/python \
	    --require-hashes -r constraints/stock.txt
	@touch $@

# PySpark has an environment of its own, without this project
.venv-spark/.installed: constraints/spark.txt | install
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-spark
	$(BIN)/uv pip install --quiet --system-certs --compile-bytecode --python .venv-spark/bin/python \
	    --require-hashes -r constraints/spark.txt
	@touch $@

bench-batch: install .venv-spark/.installed  ## files and Spark beside scikit-learn; needs Java 17, 10 minutes
	$(BIN)/python benchmarks/batch.py --spark .venv-spark

bench: install .venv-stock/.installed  ## compare with mlserver-mlflow and MLServer's floor; needs wrk, 10 minutes
	@command -v wrk >/dev/null || { echo "expected wrk (Debian package wrk), found none; install it" >&2; exit 1; }
	$(BIN)/python benchmarks/scoring.py $(if $(DATA),--data $(DATA))
	$(BIN)/python benchmarks/codec.py $(if $(DATA),--data $(DATA))
	$(BIN)/python benchmarks/signing.py $(if $(DATA),--data $(DATA))
	$(BIN)/python benchmarks/in_turns.py --stock .venv-stock $(if $(DATA),--data $(DATA))
	$(BIN)/python benchmarks/serving.py --stock .venv-stock $(if $(DATA),--data $(DATA))

faults: install .venv-stock/.installed  ## every fault many times, ours and mlserver-mlflow; 20 minutes
	PYFUNC_FAULTS=many $(PYTEST) tests/faults
	$(BIN)/python benchmarks/faults.py --stock .venv-stock $(if $(DATA),--data $(DATA))

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' packaging/pyfunc_packaging/_version.py)
TAG ?= $(VERSION)
BASE_IMAGE ?=
BUILDER ?= $(firstword $(foreach program,buildah podman docker,$(shell command -v $(program) 2>/dev/null)))

image:  ## build mlserver-pyfunc:VERSION-slim and -full; BASE_IMAGE=, TAG=, BUILDER=
	@test -n "$(BUILDER)" || { echo "expected buildah, podman or docker, found none of them; make BUILDER=..." >&2; exit 1; }
	for target in slim full; do \
	    $(BUILDER) build --file docker/Dockerfile --target $$target --tag mlserver-pyfunc:$(TAG)-$$target \
	        --build-arg VERSION=$(VERSION) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) . || exit 1; \
	done

image-test: install sbom  ## build and test the image from nothing, as root on Debian or Ubuntu
	$(BIN)/python -I docker/image_test.py

SLIM := -r constraints/runtime.txt
FULL := $(SLIM) -r constraints/pyfunc.txt

sbom: dist/sbom-slim.cdx.json dist/sbom-full.cdx.json  ## list what is in the image, as CycloneDX

dist/sbom-slim.cdx.json: LIBRARIES := $(SLIM)
dist/sbom-full.cdx.json: LIBRARIES := $(FULL)
# read off an environment that holds what the target holds; a test compares it with the built image
dist/sbom-%.cdx.json: constraints/runtime.txt constraints/pyfunc.txt setup.cfg | install
	@mkdir -p dist && rm -rf build/lib  # setuptools would take modules that are gone from there
	$(BIN)/python -m venv --clear --without-pip build/sbom-$*
	$(BIN)/uv pip install --quiet --system-certs --python build/sbom-$* --require-hashes $(LIBRARIES)
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python build/sbom-$* .
	$(BIN)/uv pip uninstall --quiet --python build/sbom-$* setuptools
	@rm build/sbom-$*/lib/python3*/site-packages/mlserver_pyfunc-*/direct_url.json  # names this folder
	$(BIN)/cyclonedx-py environment --output-reproducible --output-file $@ build/sbom-$*

audit: install  ## look the image's libraries up among known vulnerabilities
	@mkdir -p build
	@# --strict: a library that nobody could look up is no library without vulnerabilities
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off $(FULL) 2>build/audit.log; \
	    status=$$?; \
	    if [ $$status = 0 ] || grep -q '^Found' build/audit.log; then cat build/audit.log; exit $$status; fi; \
	    echo "audit: nothing is known: expected an advisory source that knows every library, found none" \
	        "($$(tail -n 1 build/audit.log | cut -c 1-160)); run it where PyPI can be reached" >&2; exit 2

format: install  ## format the code and sort the imports
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

lock: install  ## resolve the constraints anew; the files agree with one another
	$(BIN)/uv pip compile --system-certs --quiet setup.cfg --extra dev $(LOCK) -o constraints/dev.txt
	for extra in packaging runtime pyfunc; do \
	    $(BIN)/uv pip compile --system-certs --quiet setup.cfg --extra $$extra -c constraints/dev.txt $(LOCK) \
	        -o constraints/$$extra.txt; \
	done
	for package in kserve kserve-storage; do \
	    echo $$package | $(BIN)/uv pip compile --system-certs --quiet - $(LOCK) -o constraints/$$package.txt; \
	done
	printf 'mlserver-mlflow==1.7.1\nmlserver==1.7.1\nmlflow\nscikit-learn\npandas\nuvloop<0.22\n' | \
	    $(BIN)/uv pip compile --system-certs --quiet - -c constraints/dev.txt $(LOCK) -o constraints/stock.txt
	printf 'pyspark\nmlflow\nscikit-learn\nskops\nonnxruntime\npandas\npyarrow\n' | \
	    $(BIN)/uv pip compile --system-certs --quiet - -c constraints/dev.txt $(LOCK) -o constraints/spark.txt
	printf 'mkdocs-material\nmkdocstrings[python]\nruff\n' | \
	    $(BIN)/uv pip compile --system-certs --quiet - $(LOCK) -o constraints/docs.txt
	echo setuptools | $(BIN)/uv pip compile --system-certs --quiet - -c constraints/dev.txt $(LOCK) -o constraints/build.txt
	echo uv | $(BIN)/uv pip compile --system-certs --quiet - -c constraints/dev.txt $(LOCK) -o constraints/installer.txt

LOCK := --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade

clean:  ## remove what the targets above made
	rm -rf $(VENV) .venv-stock .venv-spark .venv-docs build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .demo *.egg-info
