# Every command of this repository. `just` is a convenience: each line works without it.

# lists the recipes
default:
    @just --list

# an API gateway on this machine, with the example
dev *ARGS:
    cargo run --release -p tollgate-cli -- dev examples/bookstore {{ARGS}}

# every test that this machine allows
test *ARGS:
    cargo xtask test {{ARGS}}

# what CI runs
ci:
    .ci/run

# formatting, lints, tidy, generated files
quick:
    cargo xtask test --level quick

# unit and in-process tests
unit:
    cargo xtask test --level unit

# fuzz targets, a minute of processor time each
fuzz SECONDS="60":
    cargo xtask test --level fuzz --fuzz-seconds {{SECONDS}}

# what compilers do not see
tidy:
    cargo xtask tidy

# writes the generated files
generate:
    cargo xtask generate

# what the specification has proved so far
conformance:
    @cargo xtask conformance

# release programs and their sizes
dist:
    cargo xtask dist

# Tollgate beside its peers
bench SCENARIOS="plain1k,full1000" *CONTENDERS="nginx haproxy envoy hyper-tpc-mi tollgate":
    bench/run {{SCENARIOS}} {{CONTENDERS}}
