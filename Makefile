# Every target sets the project up first: a virtual environment with the pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Made anew whenever the pins or the project's metadata change.
STAMP := $(VENV)/.installed
CLUSTER_STAMP := $(VENV)/.cluster-installed

.PHONY: test demo lint weekly bench notebook full-size mutants docs setup

test: setup
	$(BIN)/pytest -m "not slow"

demo: setup
	$(BIN)/dorib run --mitigation wanda:sparsity=0.1 --attack dori --out demo-out

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pylint --recursive=y harness plugins benchmarks

weekly: $(CLUSTER_STAMP)
	$(BIN)/pytest -m slow
	$(BIN)/pytest -m "not slow" tests/test_workers.py

# Writes the figures of docs/performance.md; a ratio beyond its bar fails after that.
bench: $(CLUSTER_STAMP)
	mkdir -p bench-out
	$(BIN)/pytest benchmarks/speed --benchmark-json bench-out/record.json; found=$$?; \
		cd benchmarks && $(CURDIR)/$(BIN)/python -m performance ../bench-out/record.json && exit $$found

# Runs docs/notebook.ipynb and writes what its cells show into it.
notebook: setup
	cd tests && ../$(BIN)/python -m fixtures.notebook

# Stable Diffusion 1.4's true size with random weights: 22 GB of memory, 5 GB of disk, no download.
full-size: setup
	cd benchmarks && $(CURDIR)/$(BIN)/python -m full_size --work $(CURDIR)/full-size-out

# The documentation as plain pages in docs-out.
docs: setup
	$(BIN)/mkdocs build --strict --quiet

# Small mutants of the program: which of them do the tests kill? Hours, outside CI.
mutants: setup
	cd tests && $(CURDIR)/$(BIN)/python -m mutants

setup: $(STAMP)

# By the environment variable, unlike by `-c`, the pins hold for the build backend as well.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --editable ".[test,onnx,docs]"
	touch $@

# Ray is too large for every setup.
$(CLUSTER_STAMP): $(STAMP)
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --editable ".[cluster]"
	touch $@
