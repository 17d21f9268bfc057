# make help lists the targets. The steps themselves are in tools/ci, which says
# what it runs, how long it took, and what to do when it fails.
.DEFAULT_GOAL := help
.PHONY: help test check lint fuzz chaos generate regenerate step tools build release bench bench-compare bench-report env-report dashboards clean FORCE

CI := bin/ci -root .

help: ## List the targets
	@sed -n 's/^\([a-z%-]*\):.*## /\1\t/p' Makefile | expand -t 15

test: bin/ci ## Install what is needed and run everything: lint, builds, all tests
	@$(CI) test

check: bin/ci ## The fast loop, which needs only Go: format, vet, tests
	@$(CI) check

lint: bin/ci ## Format, vet, staticcheck, actionlint, shellcheck
	@$(CI) lint

fuzz: bin/ci ## Each fuzz target for a moment, from new inputs
	@$(CI) fuzz

chaos: bin/ci ## Break a cluster under load in every way, and print what came of it (half an hour)
	@$(CI) chaos-full

generate: bin/ci ## Generate the code of the .proto files
	@$(CI) generate

regenerate: bin/ci ## Generate anew elsewhere and compare with the tree
	@$(CI) regenerate

step: bin/ci ## One or more steps: make step STEP="vet cross"
	@$(CI) $(or $(STEP),-help)

tools: bin/ci ## Build the pinned tools into bin/
	@$(CI) tools

build: ## Build bin/geecache
	go build -o bin/geecache .

release: bin/ci ## Make dist/ for the tag of this commit: archives, SBOMs, sums
	@$(CI) release

BENCH := bin/bench -C benchmarks

bench: bin/bench ## Measure everything beside the peers, 10 times (25 minutes; N=3 for fewer)
	$(BENCH) -n $(or $(N),10) run all

bench-compare: bin/bench ## What was promised, what was measured, and which of it holds
	@$(BENCH) compare

bench-report: bin/bench ## Make benchmarks/RESULTS.md and its plots of the newest results
	@$(BENCH) report

env-report: build ## Make DEPLOYMENT_COMPARISON.md and its charts of the newest results of each environment
	@bin/geecache env compare -o DEPLOYMENT_COMPARISON.md

bench-%: bin/bench ## One suite: bench-engine, bench-hop, ... (bin/bench -help lists them)
	$(BENCH) -n $(or $(N),10) run $*

dashboards: ## Make monitoring/grafana/dashboards of tools/monitoring
	go run -C tools/monitoring .

clean: ## Remove what make has built
	rm -rf bin dist

# Go knows what is up to date; make does not.
bin/ci: FORCE
	@go build -C tools -o ../bin/ci ./ci

bin/bench: FORCE
	@go build -C benchmarks -o ../bin/bench ./cmd/bench

FORCE:
