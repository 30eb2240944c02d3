# Holdfast: `make help` lists the targets. Go, make and Linux are enough for all of
# them; what more a target can use (a C compiler, clang, apt) it looks for, and says so
# where it is missing.

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -c
GO          ?= go

# The version is given by hand below, so that a clone owned by somebody else builds too.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

# What to test, for quick rounds: make test PKG=./conntrack RUN=TestB7
PKG ?= ./...
RUN ?= .
# Serial packages: tests that measure time or build namespaces share the cores.
TEST_TIMEOUT ?= 8m
# Within one, tests that mostly wait run four at a time. `make check` vets tests too, and
# nobody debugs these binaries: neither is done again for each of them.
TEST_FLAGS   := -count=1 -p 2 -parallel 4 -vet=off -ldflags=-w -timeout $(TEST_TIMEOUT) -run '$(RUN)' $(if $(SHUFFLE),-shuffle=$(SHUFFLE))

FUZZTIME ?= 10s
TRIALS   ?= 20
# The seed of a soak: shuffles the tests, and tests that draw numbers take it from
# HOLDFAST_SEED. The result names it, so that a run can be repeated.
SEED ?= $(shell date +%s)

# The linters are fetched by `go run` at an exact version, checked against the sum
# database, and kept out of go.mod: who builds Holdfast need not fetch them.
STATICCHECK        := honnef.co/go/tools/cmd/staticcheck@v0.8.2
STATICCHECK_CHECKS := all,-ST1003,-ST1020,-ST1021,-ST1022,-ST1023,-SA9003

# The committed BPF objects were made by this clang. Another major version makes other
# code, so only this one can compare. The kernel's headers and llvm-strip belong to it.
CLANG       ?= clang
CLANG_MAJOR := 14
define CAN_GENERATE
have=$$($(CLANG) -dumpversion 2>/dev/null | cut -d. -f1); why=; \
[ "$$have" = $(CLANG_MAJOR) ] || why="they are made with clang $(CLANG_MAJOR), here is $${have:-none}"; \
command -v llvm-strip >/dev/null || why="$${why:-llvm-strip is missing}"; \
[ -e /usr/include/linux/bpf.h ] && [ -e /usr/include/bpf/bpf_helpers.h ] || why="$${why:-the headers of the kernel or of libbpf are missing}"
endef

# Debian's packages of the peers that the benchmark measures against.
BENCH_PACKAGES := nftables conntrack conntrackd ethtool iperf3 openvswitch-switch
BENCH_PROGRAMS := nft conntrack conntrackd ethtool iperf3 ovs-vswitchd

.DEFAULT_GOAL := help
.PHONY: build test check demo bench bench-deps soak generate lint fuzz clean help \
        check-format check-vet check-generated staticcheck

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/holdfast, static, without a C compiler
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/holdfast ./cmd/holdfast

# --- tests ---------------------------------------------------------------------------

# The race detector needs a C compiler with the C library's headers.
RACE = $(shell cc=$$($(GO) env CC); printf '\#include <stdlib.h>\n' | $$cc -E - >/dev/null 2>&1 && echo -race)

test: ## run all tests: with -race where a C compiler is, in namespaces where root is
	@[ -n '$(RACE)' ] && echo 'race detector: on' || echo 'race detector: OFF, no C compiler with headers ($(shell $(GO) env CC))'
	@[ "$$(id -u)" = 0 ] && echo 'root: yes' || echo 'root: NO, tests in network namespaces skip'
	@mkdir -p bin
	@$(GO) build -o bin/testreport ./cmd/internal/testreport
	@# All is compiled first, on all cores, so that tests are not slowed down by it. What does not
	@# compile, go test reports.
	@$(GO) list -e -export -deps -test $(RACE) $(PKG) >/dev/null || true
	@bin/testreport $(GO) test -json $(RACE) $(TEST_FLAGS) $(PKG)

# Every target runs even when one fails. A target that hangs is ended: building, and the
# corpus, take no longer than FUZZ_SLACK.
FUZZ_SLACK ?= 5m
fuzz: ## run each fuzz target for FUZZTIME (10s)
	@failed=; for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -r -n1 dirname | sort -u); do \
		for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -d' ' -f2 | sort -u); do \
			echo "fuzz $$dir $$target"; \
			timeout --kill-after=10s $$(( $$(echo $(FUZZTIME) | sed 's/h/*3600/; s/m/*60/; s/s//') + $$(echo $(FUZZ_SLACK) | sed 's/h/*3600/; s/m/*60/; s/s//') )) \
				$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$dir || failed="$$failed $$dir:$$target"; \
		done; \
	done; [ -z "$$failed" ] || { echo "FAILED:$$failed"; exit 1; }

# Which parts of the soak are run, by name; all where empty.
SOAK_PARTS    ?=
# How long a part of the soak may take. What is still running then is ended and FAILED.
SOAK_LIMIT    ?= 4h
SOAK_FUZZTIME ?= 60s

# The full counts. Every part runs even when one fails; the result holds what each said.
#
#	hostile  2,000,000 random packets through the path, every byte of every kind of packet;
#	         1,000,000 from outside, and what comes back
#	flood    2,000,000 packets of SYN and of UDP flood into a small table
#	hash     1,000,000 tuples of each family that an adversary would choose
#	oracle   1,000,000 packets through the kernel's tracker and ours (root), all 414,720 transitions
#	         of TCP
#	translation  the same for translation, ICMP errors and fragments (root)
#	decoder  10,000,000 packets read by us and by gopacket, all chains of eight IPv6 headers
#	nat      10,000,000 packets there and back, and requests for ports of services
#	pieces   all sequences of four pieces that may overlap
#	reload   two rulesets of 10,000 rules in turn, back to back for a minute, under packets
#	datagrams  10,000,000 forged, replayed, cut, changed datagrams and ones of an old key
#	rotation  20 changes of the key under replication
#	link     two nodes, a link that loses 0.1, 1, 5 and 20 %, duplicates and reorders, 50,000
#	         changes a second for a minute each (root)
#	simulator  100,000 schedules of clusters in virtual time
#	smallscope  every interleaving of a few steps of two and three nodes, millions of states
#	handicaps  a slowed and a lossy build of the daemon, which the benchmark must notice (root)
#	sizes    pings of 1,000 random sizes up to 65,507 bytes, in both families (root)
#	test     all tests, shuffled, with the race detector
#	fuzz     every fuzz target for SOAK_FUZZTIME
#
# All but the last two run without the race detector, which would make them ten times as long;
# `test` runs what they run again with it, in the gate's counts.
soak: SOAK_DATE := $(shell date -u +%Y-%m-%dT%H%M%SZ)
soak: build ## run the full counts (hours) and write docs/soak/DATE.txt, to be committed
	@mkdir -p docs/soak bin; result=docs/soak/$(SOAK_DATE).txt; failed=0; \
	part() { \
		case " $(SOAK_PARTS) " in "  "|*" $$1 "*) ;; *) return;; esac; \
		local name=$$1; shift; local log=bin/soak-$$name.log start=$$SECONDS status=passed; \
		echo "soak: $$name: $$*"; \
		timeout --kill-after=30s $(SOAK_LIMIT) "$$@" 2>&1 | tee $$log || { status=FAILED; failed=1; }; \
		{ echo; echo "== $$name: $$status after $$((SECONDS - start)) s"; echo "$$*"; tail -n 40 $$log; } >> $$result; \
	}; \
	full() { \
		local name=$$1 package=$$2 tests=$$3; \
		part $$name env HOLDFAST_SOAK=1 HOLDFAST_SEED=$(SEED) $(GO) test -count=1 -v -timeout $(SOAK_LIMIT) -run "$$tests" $$package; \
	}; \
	{ echo "holdfast $(VERSION), $(SOAK_DATE), seed $(SEED)"; [ -z "$(SOAK_PARTS)" ] || echo "these parts alone: $(SOAK_PARTS)"; uname -srm; $(GO) version; echo "$$(nproc) cores"; } > $$result; \
	full hostile ./dataplane 'TestREL18|TestA6|TestREL37|TestREL38'; \
	full flood ./dataplane 'TestB15|TestREL31'; \
	full hash ./conntrack 'TestREL32'; \
	full oracle ./conntrack/oracle 'TestREL21|TestREL22'; \
	full translation ./dataplane 'TestREL22'; \
	full decoder ./dataplane/packet 'TestREL20|TestM4|TestREL23'; \
	full nat ./nat 'TestREL20|TestREL38|TestI1_|TestI4_|TestI12_'; \
	full pieces ./dataplane/fragment 'TestREL23'; \
	full reload ./dataplane 'TestREL28_'; \
	full link ./sync/cluster 'TestREL15'; \
	full simulator ./sync/simulator 'TestREL4_|TestREL7_'; \
	full smallscope ./sync/smallscope 'TestREL5_|TestREL8_'; \
	full datagrams ./sync/seal 'TestREL25_'; \
	full rotation ./sync/cluster 'TestREL26_'; \
	full handicaps ./bench 'TestASlowedBuild|TestALossyBuild'; \
	full sizes ./cmd/holdfast 'TestK1_PingOfEverySize'; \
	part test env HOLDFAST_SEED=$(SEED) $(MAKE) --no-print-directory test SHUFFLE=$(SEED) TEST_TIMEOUT=$(SOAK_LIMIT); \
	part demo bin/holdfast demo --trials $(TRIALS); \
	part fuzz $(MAKE) --no-print-directory fuzz FUZZTIME=$(SOAK_FUZZTIME); \
	echo "wrote $$result"; exit $$failed

# --- checks --------------------------------------------------------------------------

check: check-format check-vet staticcheck check-generated ## gofmt, vet, linters, generated files (no tests)
	@echo 'check: all good'

check-format:
	@echo '-- gofmt'; list=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .) || exit 1; \
	if [ -n "$$list" ]; then echo "not formatted, run gofmt -w on:"; echo "$$list"; exit 1; fi

check-vet:
	@echo '-- go vet'; $(GO) vet ./...

staticcheck:
	@echo '-- staticcheck'; $(GO) run $(STATICCHECK) -checks '$(STATICCHECK_CHECKS)' ./...

lint: staticcheck ## run staticcheck, and golangci-lint where it is installed
	@if command -v golangci-lint >/dev/null; then echo '-- golangci-lint'; golangci-lint run ./...; \
	else echo 'golangci-lint is not installed: skipped (.golangci.yml says what it would look at)'; fi

# Regenerates in a copy of the tree, so that a check never changes what it checks.
check-generated:
	@echo '-- generated files'; \
	$(CAN_GENERATE); \
	if [ -n "$$why" ]; then echo "skipped, BPF objects are not compared: $$why"; exit 0; fi; \
	copy=$$(mktemp -d) || exit 1; trap 'rm -rf "$$copy"' EXIT; \
	tar --exclude=./.git --exclude=./bin -cf - . | tar -xf - -C "$$copy" || exit 1; \
	(cd "$$copy" && $(GO) generate ./...) || exit 1; \
	diff -rq -x .git -x bin . "$$copy" || { echo 'out of date: run make generate and commit'; exit 1; }

generate: ## make the BPF objects (clang) and docs/behaviour-coverage.md anew
	@$(CAN_GENERATE); \
	if [ -z "$$why" ]; then $(GO) generate ./...; else echo "BPF objects left as they are: $$why"; fi
	$(GO) test -count=1 -run TestBehaviourChecklist . -update

# --- to see it work ------------------------------------------------------------------

demo: build ## two firewalls, real TCP through them, the active one killed (root)
	bin/holdfast demo

bench: ## run the benchmark suite in its quick form and write its page (root)
	@mkdir -p bin
	$(GO) build -o bin/bench ./bench
	@bin/bench run --quick --out bin/bench.json; status=$$?; \
	[ -e bin/bench.json ] && bin/bench report --with bin/bench.json --page bin/bench.html; exit $$status

bench-deps: ## install the peers that the benchmark measures against, where apt is
	@if command -v apt-get >/dev/null; then \
		apt-get -q update || echo 'apt-get update failed: trying the lists there are'; \
		for p in $(BENCH_PACKAGES); do \
			DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends $$p >/dev/null || echo "could not install $$p: its rows will be skipped"; \
		done; \
	fi; \
	for p in $(BENCH_PROGRAMS); do \
		PATH="$$PATH:/usr/sbin:/sbin" command -v $$p >/dev/null && echo "$$p: there" || echo "$$p: missing, its rows will be skipped"; \
	done

clean: ## remove what was built
	rm -rf bin
	find . -name '*.test' -type f -delete
