# Everything that is done to cloudroute by hand or by CI. Needs Python 3.11 or newer, and nothing else:
# each target sets up .venv from requirements.lock by itself, again when the lock or pyproject.toml changes.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help lint check test demo packets terraform-test cluster cluster-test storm soak bench scale docs image release manifests assets helm lock clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# Programs that tests start find cloudroute compiled.
unexport PYTHONDONTWRITEBYTECODE

help: ## What can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

check: lint ## Formatting, lint, types, import contracts, and the fast tests: below 15 s
	HYPOTHESIS_PROFILE=fast $(BIN)/pytest -n 2 tests/core tests/test_config*.py $$(grep -rl --include='*.py' '>>>' cloudroute)

# Four workers for two cores: those of hosts wait half of the time.
test: lint ## Everything that check does, with more examples, and all tests; says what it skips and why
	tests/tools/in-memory.sh $(BIN)/pytest -n 4 --dist loadscope --no-loadscope-reorder

packets: $(READY) ## Six hosts with real packets while limits fall, a host dies, an agent is killed (root)
	$(BIN)/cloudroute demo --packets

demo: $(READY) ## 120 nodes join, a leader is killed: without an account, root or network
	$(BIN)/cloudroute demo

terraform-test: $(READY) ## Terraform: every module and root, and the test environment from apply to destroy
	$(BIN)/pytest tests/terraform

cluster: $(READY) ## Six real kubelets with cloudroute, up until Ctrl-C, to try commands on (root)
	$(BIN)/python -m tests.cluster

cluster-test: $(READY) ## The whole of it: Terraform, kubelets, the image, the chart, upgrades, one thing broken at a time for verify to find, the way out (root)
	$(BIN)/pytest tests/cluster

storm: $(READY) ## 10,000 scenarios in which nearly everything goes wrong, on virtual time; every invariant in each
	$(BIN)/python -m tests.simulation.storm --seeds 10000

soak: $(READY) ## Real parts, traffic and random faults for MINUTES=20, again by SEED= (root, make assets)
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),20) $(if $(SEED),--seed $(SEED))

bench: $(READY) ## Measure what the README claims, into docs/performance.md and its pictures
	$(BIN)/python -m tests.bench --report

scale: $(READY) ## How cost grows from 100 to 20,000 nodes, and two days, into docs/performance.md (hours)
	$(BIN)/python -m tests.scale --write

docs: $(READY) ## Build the site of all pages into dist/docs, to be opened from there: no server, no network
	$(BIN)/sphinx-build -W -q -b html -c docs . dist/docs

image: $(READY) ## Build the image of amd64 and arm64 into dist/, without a registry (root; says which of Debian's packages)
	PYTHON=$(CURDIR)/$(BIN)/python deploy/image/build.sh dist

release: $(READY) ## Build all files of a release into dist/, always the same bytes; FINAL=1 refuses a snapshot (as make image; git)
	$(BIN)/python deploy/release/build.py $(if $(FINAL),--final) dist

manifests: ## Render deploy/cloudroute.yaml from the chart (helm)
	cp cloudroute/crds/*.yaml deploy/chart/files/crds/
	deploy/chart/render.sh >deploy/cloudroute.yaml.new && mv deploy/cloudroute.yaml.new deploy/cloudroute.yaml

helm: ## Build Helm for the tests of the chart (Go 1.26; minutes the first time)
	tests/tools/helm-assets.sh

assets: ## Build Kubernetes' programs, etcd, CoreDNS and the enforcer of policies for the tests that need them (Go 1.26; minutes)
	tests/tools/kube-assets.sh
	tests/tools/dns-assets.sh
	tests/tools/policies-assets.sh

lock: ## Resolve requirements.lock anew from pyproject.toml (uv)
	uv pip compile --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
	  --no-header --no-annotate -q pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q \
	  -c requirements.lock pyproject.toml -o deploy/image/requirements.lock
	echo hatchling | uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q \
	  -c requirements.lock - -o deploy/image/build.lock

clean: ## Remove all that was made here
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find cloudroute tests -name __pycache__ -type d -prune -exec rm -rf {} +

lint: $(READY)
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is missing or older than 3.11: install Python 3.11 or newer, or make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
