# One image holds the three programs: /tollgate, /tollgate-controller and /tollgate-proxy. It has no shell and no package
# manager, and runs as user 65532. Build it with: docker build -t tollgate .
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p tollgate-controller -p tollgate-proxy -p tollgate-cli
RUN e2e/cluster/rootfs /image \
  target/release/tollgate:/tollgate \
  target/release/tollgate-controller:/tollgate-controller \
  target/release/tollgate-proxy:/tollgate-proxy

FROM scratch
COPY --from=build /image /
USER 65532:65532
ENTRYPOINT ["/tollgate"]
