# One command a target. `make test` is what has to be green.

FUZZTIME ?= 30s
BENCHTIME ?= 1s
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: all build run setup check vet fmt-check staticcheck test test-short fmt update generate fuzz schedules rooms-schedules bench compare clean

all: build

build:
	go build -o chatd ./cmd/chatd

run:
	go run ./cmd/chatd

# The clients that the tests of e2e/ drive, a C compiler for -race.
setup:
	scripts/setup.sh

check: vet fmt-check staticcheck

vet:
	go vet ./...

fmt-check:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt'd:"; gofmt -l .; exit 1; }

staticcheck:
	go run $(STATICCHECK) ./...

# Not from the cache: it does not know that some tests build and run chatd. Those that run processes wait most of the time:
# they begin first, beside the others, and more of them at once than there are processors.
# SQLite is C turned into Go: the race detector finds nothing in it and makes it several times slower.
test: export GOFLAGS += -gcflags=modernc.org/sqlite/lib=-race=false
test: setup check
	go test -race -count=1 -timeout 20m -p 3 -parallel 4 ./e2e . ./...

# Without whole processes and foreign clients.
test-short:
	go test -short ./...

fmt:
	gofmt -w .

# Rewrites the expected side of testdata/*.txt.
update:
	go test . -update

# The REST client, after the API has changed.
generate:
	go test ./api -run TestDocumentIsCommitted -update
	go generate ./api/apiclient

# Each fuzz target for FUZZTIME.
fuzz:
	scripts/fuzz.sh $(FUZZTIME)

# Random schedules of a cluster's partitions, crashes and damage: of the replication, of the links, and of whole nodes with clients. What
# fails says its seed and how to run it again; the next night with another SEED.
SCHEDULES ?= 10000
SEED ?= 1
schedules:
	go test ./cluster -run 'TestSchedules|TestLinkSchedules' -count=1 -timeout 6h -schedules $(SCHEDULES) -linkschedules $(SCHEDULES) -seed $(SEED)
	go test ./cmd/chatd -run TestNodeSchedules -count=1 -timeout 12h -schedules $(SCHEDULES) -seed $(SEED) -outages

# The same of rooms: what users see, and what is kept.
rooms-schedules:
	go test ./muc -run TestSchedules -count=1 -timeout 3h -schedules $(SCHEDULES) -seed $(SEED)

# docs/benchmarks.md says which is which.
bench:
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

# chatd beside ejabberd and Prosody, into docs/benchmarks: installs these two, and wants a quiet machine.
compare:
	go run ./bench/compare

clean:
	rm -rf chatd e2e/node/node_modules
