# Every target sets up what it needs; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := .planner/demo

.PHONY: help demo test check bench bench-dataset bench-harness bench-history bench-runtime bench-synthesis bench-training fuzz results ui schemas clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

# torch first and by pip (a CPU build, where the machine offers one, is kept by what follows), the
# rest by uv, which is several times faster; pip alone where uv cannot do it
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 uv -c constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[dev]' \
	  || $(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: $(READY) ## simulated workspace -> data set -> model -> bundle -> a decision and a report
	@$(BIN)/cyntra-planner demo --out $(DEMO)

test: $(READY) ## the test suite, without the slow tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow"

check: $(READY) ## style, types, import rules, then the slow tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -q -m slow

bench: $(READY) ## how long a decision and its parts take
	$(BIN)/python -m tests.bench.decisions --bundle $(DEMO)/out/bundle --dataset $(DEMO)/out/dataset

bench-dataset: $(READY) ## what building a data set costs at 1k, 10k and 100k runs (about 15 minutes)
	$(BIN)/python -m tests.bench.dataset

bench-harness: $(READY) ## what a bench costs beyond toolchains and gates
	$(BIN)/python -m tests.bench.bench_harness

bench-runtime: $(READY) ## what a decision costs inside a kernel, with the bars (2 minutes)
	$(BIN)/python -m tests.bench.runtime --demo $(DEMO)/out

fuzz: $(READY) ## a million hostile questions, damaged bundles, threads across reloads (minutes)
	$(BIN)/python -m tests.fuzz.decisions --n 1000000
	$(BIN)/python -m tests.fuzz.bundles
	$(BIN)/python -m tests.fuzz.swaps
	$(BIN)/python -m tests.fuzz.threads

bench-synthesis: $(READY) ## ranking 10,000 and 100,000 cards, five kinds of registries
	$(BIN)/python -m tests.bench.synthesis

bench-history: $(READY) ## what a kernel's own history costs: loading, refresh, queries
	$(BIN)/python -m tests.bench.history --bundle $(DEMO)/out/bundle

bench-training: $(READY) ## training rows per CPU second of MLP and Transformer, one thread
	$(BIN)/python -m tests.bench.training

TRIALS ?= ../shared/data/agent-trials
RESULTS := .planner/results
TIMED := $(TRIALS)/terminal_bench.trials.csv.gz
TASKS := $(TRIALS)/terminal_bench.tasks.jsonl

results: $(READY) ## docs/results.md: policies, off-policy study, learning curve, ablations (45 minutes)
	$(BIN)/cyntra-planner policy --trials $(TIMED) --tasks $(TASKS) --out $(RESULTS) --report
	$(BIN)/cyntra-planner ope --trials $(TIMED) --out $(RESULTS)
	$(BIN)/cyntra-planner bench --learning-curve --trials $(TIMED) --out $(RESULTS)
	$(BIN)/cyntra-planner ablate --repo $(DEMO)/workspace --out $(DEMO)/out
	$(BIN)/python -m planner_pipeline.experiments.results_page $(RESULTS) $(DEMO)/out > docs/results.md

ui: $(READY) ## Dagster's and MLflow's pages on loopback, on the demo's output
	$(BIN)/cyntra-planner ui --repo $(DEMO)/workspace --out $(DEMO)/out

schemas: $(READY) ## write schemas/*.schema.json from the contracts
	$(BIN)/python -m planner_runtime.schemas schemas
	$(BIN)/python -m planner_synthesis.schemas schemas/synthesis

clean: ## remove the environment, caches and the demo
	rm -rf $(VENV) .planner .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
