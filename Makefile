# One line a recipe; `make test` is what CI runs, nothing else.
.PHONY: demo test check bench bench-peers flamegraph measure-fleet fuzz deb rpm fleet

FUZZ_SECONDS ?= 60

demo: ; cargo run --quiet -- demo
test: ; bash tests/run.sh
check: ; cargo fmt --check && cargo clippy --all-targets -- -D warnings && cargo deny check
# Times, then instructions and allocations; docs/performance.md says what is what.
bench: ; cargo bench && bash benches/stages/count.sh
# The first tables of docs/performance.md, and its picture; QUICK=1 is ten minutes, all is two hours.
bench-peers: ; python3 benches/peers/run.py
flamegraph: ; python3 benches/peers/flamegraph.py
# The table of docs/clustering.md; as root, on a machine with nothing else to do, for most of an hour.
measure-fleet: ; bash tests/setup.sh && cargo test --test fleet -- --ignored --exact bridge::measures_a_fleet_of_ten --nocapture
fuzz: ; bash fuzz/run.sh $(FUZZ_SECONDS)
# Into target/packages; the first of them builds the release, for as long as docs/packages.md says.
deb: ; bash packaging/tools.sh && bash packaging/build.sh deb
rpm: ; bash packaging/tools.sh && bash packaging/build.sh rpm
# Debian systems that boot, with a release's packages: the second table of docs/clustering.md. As root.
fleet: ; bash tests/appliance/fleet.sh
