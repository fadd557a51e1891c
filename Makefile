# One place for every tool line; CI calls the same targets.

GO      ?= go
PREFIX  ?= /usr
DESTDIR ?=
BIN     ?= bin/hbagent
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X github.com/hbagent/hbagent/internal/cli.version=$(VERSION) -X github.com/hbagent/hbagent/internal/cli.commit=$(COMMIT)

.PHONY: help build install packages demo hosts check test test-deps test-systemd model fuzz bench gobench gobench-run report record sim schema scale cost economy latency outage handover chaos loss load screenshot database stage3 clean

help: ## what there is to make
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/hbagent
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/hbagent

install: build ## the program, the unit and an example config, below $(DESTDIR)
	install -D -m 0755 bin/hbagent $(DESTDIR)$(PREFIX)/bin/hbagent
	install -D -m 0644 deploy/systemd/hbagent.service $(DESTDIR)$(PREFIX)/lib/systemd/system/hbagent.service
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system deploy/systemd/hbagent-commands.socket deploy/systemd/hbagent-commands@.service
	install -D -m 0644 deploy/systemd/hbagent.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/hbagent.conf
	install -D -m 0644 deploy/systemd/hbagent.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/hbagent.conf
	install -D -m 0644 deploy/examples/web-db-standby.toml $(DESTDIR)$(PREFIX)/share/doc/hbagent/examples/web-db-standby.toml
	install -D -m 0644 deploy/examples/proxy-pair.toml $(DESTDIR)$(PREFIX)/share/doc/hbagent/examples/proxy-pair.toml
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/hbagent/examples/templates deploy/examples/templates/*.tmpl
	install -D -m 0644 deploy/examples/two-machines-witness.toml $(DESTDIR)$(PREFIX)/share/doc/hbagent/examples/two-machines-witness.toml
	cd deploy/examples && find stage3 -type f -exec install -D -m 0644 {} $(abspath $(DESTDIR))$(PREFIX)/share/doc/hbagent/examples/{} \;
	install -D -m 0644 deploy/examples/mysql-pair.toml $(DESTDIR)$(PREFIX)/share/doc/hbagent/examples/mysql-pair.toml
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/hbagent/monitoring deploy/monitoring/*
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/hbagent/schema docs/schema/*.schema.json

packages: ## dist/*.deb and dist/*.rpm, for ARCH (that of this machine)
	scripts/packages.sh

demo: build ## three nodes, a client and faults in throw-away namespaces; no root needed
	bin/hbagent demo

hosts: packages ## three machines that boot a real systemd, and a shell beside them; needs root and Debian or Ubuntu
	scripts/hosts.sh dist/*.deb

check: ## format, vet, staticcheck, go.mod, scripts
	@test -z "$$(gofmt -l .)" || { echo 'gofmt would change:'; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags bench ./internal/lab/rivals
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff
	$(GO) mod tidy -C tools/nfpm -diff
	$(GO) mod tidy -C tools/page -diff
	$(GO) vet -C tools/page ./...
	check=$$($(GO) tool -n staticcheck) && cd tools/page && $$check ./...
	for f in scripts/*.sh .ci/run; do bash -n $$f || exit 1; done

test-deps: ## what the tests need, from the distribution; as root only
	scripts/test-deps.sh

test: test-deps ## every test; as root nothing is skipped
	scripts/test.sh

test-systemd: ## the packages on three machines that boot a real systemd; needs root and Debian or Ubuntu
	scripts/test-systemd.sh

model: ## the lease in Promela, every state of it (docs/model); needs spin and gcc, 15 minutes or more
	scripts/model.sh

fuzz: ## each fuzz target for FUZZTIME (30s)
	scripts/fuzz.sh $(or $(FUZZTIME),30s)

bench: build ## hbagent beside keepalived, ucarp and pacemaker: outages, cost; writes docs/benchmarks; 50 minutes
	scripts/bench.sh $(BENCH_FLAGS)
	$(GO) test -count=1 -tags bench ./internal/lab/rivals
	$(MAKE) gobench

gobench: ## Go benchmarks of the hot paths; writes docs/benchmarks/data/gobench.txt, for benchstat too
	NAMES=gobench scripts/record.sh

gobench-run:
	@$(GO) test -run '^$$' -bench . -skip 'Throughput|Forwarded' -benchmem ./pkg/... ./internal/sim ./internal/metrics

sim: ## SECONDS (1000000) of cluster time in the simulator, from seed FROM (1), on one core
	HBAGENT_SIM_SECONDS=$(or $(SECONDS),1000000) HBAGENT_SIM_FROM=$(or $(FROM),1) GOMAXPROCS=1 $(GO) test -count=1 -timeout 0 -run '^TestSimulation$$' -v ./internal/sim

report: ## docs/benchmarks, and the figures in other docs, from docs/benchmarks/data
	$(GO) run ./internal/lab/labrecord

record: build ## run what docs/measurements.md shows, NAMES of it, and keep what it prints (docs/benchmarks/data)
	scripts/record.sh

schema: ## docs/schema, from the Go types: after adding a key to a --json output
	$(GO) test ./internal/cli -run '^TestSchemas$$' -update

scale: build ## what grows with nodes, voters and groups: docs/scaling.md; up to half an hour, SCALE_ONLY=3x3x1,... takes some
	scripts/scale.sh

cost: build ## what three agents cost at rest: memory, CPU, packets
	scripts/cost.sh

economy: build ## what of the cost at rest is Go's runtime: with two processors and early timers, and without
	scripts/economy.sh

latency: build ## how long `hbagent status` takes with all well, a peer frozen, a peer dead
	scripts/latency.sh

outage: build ## how long a client is without the address, fault by fault
	scripts/outage.sh

handover: build ## planned moves under load: failed requests, beside keepalived
	scripts/handover.sh

chaos: build ## random faults for DURATION (10m) from SEED, watched from outside: never two owners
	scripts/chaos.sh $(CHAOS_FLAGS)

loss: build ## 30 % of all frames lost for a minute, four times: nothing moves
	DURATION=60s scripts/chaos.sh -steady loss-everywhere $(CHAOS_FLAGS)

load: build ## two busy processes on the owner for a minute, four times: nothing moves
	DURATION=60s scripts/chaos.sh -steady load $(CHAOS_FLAGS)

screenshot: ## docs/images: the status page, light, dark and on a phone; needs Chromium and fonts-inter
	scripts/screenshot.sh

database: ## the MySQL role under writes: ROUNDS (20) planned moves, crashes and power cuts of real MariaDB servers
	HBAGENT_DATABASE_ROUNDS=$(or $(ROUNDS),20) $(GO) test -count=1 -timeout 60m -v -run '$(or $(RUN),TestSwitchover|TestCrash|TestPowerCutOfTheSite)' ./internal/e2e/database

stage3: ## every part of a whole site fails, ROUNDS (3) times each: what a visitor notices
	HBAGENT_STAGE3_ROUNDS=$(or $(ROUNDS),3) $(GO) test -count=1 -timeout 60m -v -run TestFaults ./internal/e2e/stage3

clean: ## remove what was built
	rm -rf bin dist
