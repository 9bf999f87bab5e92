# Patchwrit: an index of verbs. `make help` lists them.
SHELL := /bin/bash
GO ?= go
PKGS := ./...
LDFLAGS := -s -w -X main.version=$(shell git describe --always --dirty 2>/dev/null || echo unknown)


.PHONY: help
help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: deps
deps: ## install the Debian packages that demo and tests need (says which first)
	@./internal/debworld/deps.sh

.PHONY: build
build: ## build the binaries into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: check
check: lint ## format, vet, staticcheck, laws, unit tests (under 4 minutes once compiled)
	PATCHWRIT_REAL_ROOTS=no $(GO) test -short -timeout 20m $(PKGS)

.PHONY: lint
lint: ## format, vet, staticcheck, laws
	@bad=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); test -z "$$bad" || { echo "not gofmt-ed: $$bad"; exit 1; }
	$(GO) vet $(PKGS)
	$(GO) tool staticcheck $(PKGS)
	$(GO) test -count=1 ./internal/laws/

.PHONY: test
test: deps ## lint, race, real records, real Debian roots, real apt, Chromium, a fleet that is killed piece by piece, a real guest, mutation run
	$(MAKE) lint
	$(MAKE) test-race
# The guest waits for its emulator, the other lane for apt, dpkg and people: one of two cores would be idle.
	$(MAKE) test-bin
	$(MAKE) -j2 LINKED=yes test-lane test-lane-guest

.PHONY: test-lane
test-lane: ## what make test runs beside the guest
	$(MAKE) test-e2e
	$(MAKE) test-real
	$(MAKE) test-fleet

.PHONY: test-lane-guest
test-lane-guest: ## the guest, then the mutation run
	$(MAKE) test-guest
	$(MAKE) test-mutants ROOMS="canon change plan plan/whole tlog trust approval writ provenance policy policy/rego/standard proposal agent witness priority feed/document feed/kev feed/cve feed/nvd advice advisor/dialect advisor/pipe advisor/post visit mcp"

.PHONY: test-race
test-race: ## unit tests with the race detector
# A raced process waits a second before it ends unless told otherwise, and the scripts start hundreds.
	GORACE=atexit_sleep_ms=50 PATCHWRIT_REAL_ROOTS=no $(GO) test -race -short -timeout 12m $(PKGS)

.PHONY: test-real
test-real: ## real records of the shared data set, read and matched without the race detector (internal/raced says why); each kind of poison, and advisers of many kinds, through the loop
	@test -d "$${PATCHWRIT_SHARED:-../shared/data}" || echo "test-real: the shared data set is not here (PATCHWRIT_SHARED names its folder): tests of real records skip"
	$(GO) test -short -count=1 -timeout 20m $(shell cat internal/real-packages.txt)
	$(GO) test -count=1 -run '^Test(EachKindOfPoison|PoisonedFacts|TwinsOfTheLoop)' ./control

TEST_BIN := $(CURDIR)/bin/test
# LINKED=yes: make test has linked them, and nothing may replace them under houses that run.
NEEDS_BIN := $(if $(LINKED),,test-bin)

.PHONY: test-bin
test-bin: ## the programs as they are shipped, linked once for all houses of the tests
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $(TEST_BIN)/ ./cmd/...

.PHONY: test-e2e
test-e2e: $(NEEDS_BIN) ## real apt in real Debian roots, real processes, real browser, every pair of versions
# These need no real roots: make test-race has run them.
	PATCHWRIT_E2E=1 PATCHWRIT_TEST_BIN=$(TEST_BIN) $(GO) test -count=1 -timeout 30m -p 1 -skip '^(TestFleetScripts|TestUpIsKilledBackedUpAndRestored|TestWhatThePortSays|TestAVisitorOverMCP|TestMCPStartsWithAToken)$$' $(shell cat internal/e2e-packages.txt)

.PHONY: test-long
test-long: deps ## what make test leaves out for its length: safeguards of apt, quarantine, depot and other slow rooms taken out, one by one; ten thousand poisoned records, of advisories and of facts; advice attacked whole; tightened settings of the rules; scripts and real records with the race detector
	$(MAKE) test-mutants ROOMS="pkgmgr/apt unpack artefact evidence advisory/quarantine feed/depot feed/epss inventory inventory/rpmfile inventory/rpmdb inventory/sbom match/library advice/conduct advisor advisor/box"
	$(GO) test -count=1 -v -timeout 20m -run 'TenThousand|Clean|Poison|^TestReal' ./advisory/quarantine ./feed/depot
	$(GO) test -count=1 -v -run TestTighterSettingsAreNowhereMilder ./policy/rego
	$(MAKE) test-conformance
	$(MAKE) redteam-advice
	PATCHWRIT_LONG=1 PATCHWRIT_REAL_ROOTS=no GORACE=atexit_sleep_ms=50 $(GO) test -race -short -count=1 -timeout 60m ./cmd/patchwrit $(shell cat internal/real-packages.txt)

.PHONY: test-conformance
test-conformance: ## our dialects beside the official SDKs of OpenAI, Anthropic and Ollama, against one loopback server (a module of its own, fetched and compiled first: minutes)
	cd internal/advisorconformance && $(GO) vet ./... && $(GO) test -count=1 ./...

.PHONY: test-fleet
test-fleet: $(NEEDS_BIN) ## a small fleet with failing, silent and halted hosts; kill -9 of each part at each step of the loop; a control plane that is lost
	PATCHWRIT_E2E=1 PATCHWRIT_LONG=1 PATCHWRIT_TEST_BIN=$(TEST_BIN) $(GO) test -count=1 -v -timeout 60m -run 'TestASmallFleet|TestCrashMatrix|TestRunbook' ./internal/fleet

.PHONY: test-guest
test-guest: $(NEEDS_BIN) ## boot a real Debian guest: its own kernel, systemd, power cuts, a kernel upgrade
	PATCHWRIT_E2E=1 PATCHWRIT_TEST_BIN=$(TEST_BIN) $(GO) test -count=1 -v -timeout 60m -p 1 ./internal/debguest ./internal/guesttest

.PHONY: test-mutants
test-mutants: ## take out each safeguard by build overlay: a test must turn red (all rooms, or ROOMS=…)
	$(GO) run ./internal/mutants $(ROOMS)

.PHONY: redteam-advice
redteam-advice: ## errors made of true claims, hostile texts in every field, simulated models: what passes, what changes (SEED=n; CORPUS=file.jsonl of id, label, channel, text; SHOW=n only shows n errors of each class); about four minutes
	$(GO) run ./internal/redadvice $(if $(SEED),-seed $(SEED)) $(if $(CORPUS),-corpus '$(CORPUS)') $(if $(SHOW),-show $(SHOW))

.PHONY: bench
bench: ## measure; writes docs/BENCHMARKS.md
	$(GO) run ./internal/bench

.PHONY: bench-peers
bench-peers: ## osv-scanner and grype beside patchwrit on one host, same records (builds them at pinned versions, says so first); writes its part of docs/BENCHMARKS.md
	$(GO) run ./internal/bench/peers

.PHONY: demo
demo: deps build ## the main job, for real, on six Debian hosts made here, and every attack on them
	$(GO) run ./internal/demo

.PHONY: clean-demo
clean-demo: ## remove what the demo left
	$(GO) run ./internal/demo -clean

.PHONY: tidy
tidy: ## go mod tidy
	$(GO) mod tidy
