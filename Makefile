# `make up` and `make test` need only Python >= 3.11 with venv.
PYTHON ?= python3
# Another package index for torch, for example PyTorch's index for the CPU: make up TORCH_INDEX=...
# If it is not set and uv is on PATH, uv chooses the build of torch for this machine.
TORCH_INDEX ?=
UV ?= $(shell command -v uv)
NPM ?= $(shell command -v npm)
SYSTEM ?= $(shell uname -sm)
GPU ?= $(wildcard /dev/nvidiactl /dev/dxg)
# If set (`.ci/run`), packages must have the hashes of requirements-dev.lock; torch is not locked.
LOCKED ?=
LOCKED_BUILD = $(if $(LOCKED),--no-build-isolation)  # builds with the locked setuptools
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help up test test-browser test-integrations test-bucket test-faults test-containers soak lint lint-openapi format bench bench-train bench-serve image clean

help:
	@echo "make up            install into .venv, then start Redis, a worker and the API on port 8000 (ACGAN_PORT)"
	@echo "make up TORCH_INDEX=...   the same, with torch from another package index, such as PyTorch's for the CPU"
	@echo "make test, lint    run the tests, the linters; CONTRIBUTING.md lists all targets"

up: .venv/.local
	$(BIN)/acgan up

# Each of PROCESSES test processes runs whole files, the slowest files first. There is one process more than
# processors, because a third of the time a test waits for a lease, a lock or another process. PYTEST_FLAGS adds options
# to pytest: `.ci/run` passes --allowed-skips. One in LONG of the tests marked `long` runs, each day other ones;
# `make test LONG=1` runs all of them.
#
# Three settings save processor time. Each process has one thread: with small batches, more threads save no time. Python
# stores compiled modules, because tests start many processes. glibc keeps the memory of freed tensors, because returning
# the pages to the kernel and getting them back takes the time of copying the tensors.
PROCESSES ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST_FLAGS ?=
LONG ?= 6
ONE_THREAD := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE=
KEEP_MEMORY := MALLOC_ARENA_MAX=2 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=268435456
IN_PARALLEL := -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
test: .venv/.dev
	$(ONE_THREAD) $(KEEP_MEMORY) $(BIN)/pytest $(IN_PARALLEL) --long-sample $(LONG) $(PYTEST_FLAGS)

# Tests of the page in a real Chromium, which must be on PATH.
test-browser: .venv/.dev
	$(ONE_THREAD) $(BIN)/pytest -m browser $(PYTEST_FLAGS)

# Tests with libraries that read our files or call the service: Keras, torchvision, MLflow and others. They have an
# environment of their own, because they need gigabytes and their requirements exclude some of ours.
test-integrations: .venv-integrations/.installed $(if $(NPM),.openapi-tools/.installed)
	$(ONE_THREAD) .venv-integrations/bin/pytest -m integrations tests/integrations $(PYTEST_FLAGS)

# Tests that need root, strace or haproxy: failing system calls, full disks, cut networks, replicas behind a proxy; and
# every test marked `long`. `.ci/run` sets FAULTS and LONG, because its `make test` has run a sample.
FAULTS ?= faults or long
test-faults: LONG := $(if $(filter command line,$(origin LONG)),$(LONG),1)
test-faults: .venv/.dev
	$(ONE_THREAD) $(BIN)/pytest -m '($(FAULTS)) and not bucket' --long-sample $(LONG) $(PYTEST_FLAGS)

# All fault tests with checkpoints in a bucket; `make test` runs some of them.
test-bucket: .venv/.dev
	OMP_WAIT_POLICY=passive $(BIN)/pytest $(IN_PARALLEL) -m 'not faults' -k bucket tests/faults

# Builds and kills the containers of docker-compose.scale.yml. Needs Docker, docker-compose and root.
test-containers: .venv/.dev
	$(BIN)/pytest -s -m containers

# Random faults for a number of minutes, then a summary: make soak MINUTES=30
MINUTES ?= 10
soak: .venv/.dev
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.plain_english
	$(BIN)/python -m tests.lock_files
	@$(MAKE) --no-print-directory lint-openapi

# spectral and redocly check the OpenAPI document. They, and the generator of the TypeScript client for the integration
# tests, are npm packages, in the exact versions of tests/openapi_tools/package-lock.json.
NODE_BIN := .openapi-tools/node_modules/.bin
lint-openapi: .venv/.dev $(if $(NPM),.openapi-tools/.installed)
ifeq ($(NPM),)
	@echo "lint: npm is not on PATH; the check of the OpenAPI document by spectral and redocly is left out"
else
	$(BIN)/python -m tests.openapi_tools .openapi-tools/openapi.json
	$(NODE_BIN)/spectral lint --fail-severity warn --ruleset tests/openapi_tools/spectral.yaml .openapi-tools/openapi.json
	REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true $(NODE_BIN)/redocly lint \
		--config tests/openapi_tools/redocly.yaml .openapi-tools/openapi.json
endif

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-train
	$(BIN)/python -m benchmarks.drawing

# With another command, timed alternately: make bench-train PEER="python keras_iteration.py tensorflow 30 mnist"
bench-train: .venv/.local
	$(BIN)/python -m benchmarks.training $(if $(PEER),--peer '$(PEER)')

# LitServe and BentoML have a separate environment. With a trained generator and all figures in a file:
# make bench-serve STORE=.acgan/checkpoints JSON=serving.json ROUNDS=3
ROUNDS ?= 3
bench-serve: .venv/.local .venv-peers/.installed
	$(BIN)/python -m benchmarks.serving --peers-python .venv-peers/bin/python --rounds $(ROUNDS) \
		$(if $(STORE),--store '$(STORE)') $(if $(JSON),--json '$(JSON)')

image:
	docker build --build-arg TORCH_INDEX="$(TORCH_INDEX)" --build-arg EXTRAS="$(EXTRAS)" \
		--build-arg REVISION="$(shell git rev-parse HEAD)" --tag acgan .

clean:
	rm -rf .venv .venv-peers .venv-integrations .openapi-tools build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "acgan needs Python 3.11 or newer; choose one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

define CUDA_WARNING
PyTorch for Linux on x86-64 includes CUDA: pip downloads about 3 GB, if it finds no smaller build on this machine.
This machine has no NVIDIA device. To download 200 MB instead, press Ctrl-C, and either install uv or run
`make up TORCH_INDEX=...` with the index for the CPU that pytorch.org/get-started/locally names.
endef
export CUDA_WARNING
ifneq ($(TORCH_INDEX),)
TORCH = $(BIN)/pip install --no-deps --index-url $(TORCH_INDEX) -c constraints.txt torch
else ifneq ($(UV),)
TORCH = $(UV) pip install --python $(BIN)/python --torch-backend=auto -c constraints.txt torch || \
	echo "uv cannot install torch; pip installs it from the default index"
else ifeq ($(SYSTEM)$(GPU),Linux x86_64)
TORCH = $(BIN)/python -c 'import torch' 2> /dev/null || { echo "$$CUDA_WARNING"; [ ! -t 1 ] || sleep 10; }
endif

.venv/.local: .venv/bin/pip pyproject.toml constraints.txt
	@echo "Installing PyTorch and other packages into .venv. This takes minutes and happens once."
	$(if $(LOCKED),$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements-dev.lock)
	@$(TORCH)
	$(BIN)/pip install $(LOCKED_BUILD) -c constraints.txt -e '.[local,keras]'
	@touch $@

INTEGRATED_EXTRAS := local,keras,onnx,parquet,cloud,tracing,tracking
.venv/.dev: .venv/.local
	$(BIN)/pip install --quiet $(LOCKED_BUILD) -c constraints.txt -e '.[local,keras,onnx,parquet,tracing,cloud,dev]'
	@touch $@

EXCLUDED := cachetools|typer# MLflow and openapi-python-client need earlier versions
.venv-integrations/.installed: .venv/bin/pip pyproject.toml constraints.txt tests/integrations/requirements.txt
	.venv/bin/python -m venv .venv-integrations
	$(if $(TORCH_INDEX),.venv-integrations/bin/pip install --quiet --no-deps --index-url $(TORCH_INDEX) -c constraints.txt torch \
		$$(grep '^torchvision' tests/integrations/requirements.txt))
	grep -vE '^($(EXCLUDED))==' constraints.txt > .venv-integrations/constraints.txt
	.venv-integrations/bin/pip install --quiet -c .venv-integrations/constraints.txt \
		-r tests/integrations/requirements.txt -e '.[$(INTEGRATED_EXTRAS)]'
	@touch $@

.openapi-tools/.installed: tests/openapi_tools/package.json tests/openapi_tools/package-lock.json
	@mkdir -p .openapi-tools
	cp $^ .openapi-tools
	$(NPM) ci --prefix .openapi-tools --ignore-scripts --no-audit --no-fund
	@touch $@

.venv-peers/.installed: .venv/bin/pip benchmarks/peers/requirements.txt
	.venv/bin/python -m venv .venv-peers
	$(if $(TORCH_INDEX),.venv-peers/bin/pip install --quiet --no-deps --index-url $(TORCH_INDEX) -c constraints.txt torch)
	.venv-peers/bin/pip install --quiet -r benchmarks/peers/requirements.txt
	@touch $@
