# One image a program: `docker build --target gateway .`
#
#   chef ─▶ plan ─▶ build ─▶ root ─▶ gateway, alert, processor, ingestor, loadgen
#
# Builds on the machine's own architecture (amd64, arm64). The dependencies are a layer of their
# own, built again only when Cargo.lock changes. An image holds one program, the libraries that it
# is linked to, and the certificates of public authorities: no shell, nothing that runs as root.

FROM rust:1.95-slim-bookworm AS chef
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates g++ make \
    && rm -rf /var/lib/apt/lists/*
RUN cargo install cargo-chef --version 0.1.78 --locked
WORKDIR /gostocks

# What the dependencies are, without the sources.
FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS build
# Images carry no debugging information; the programs are otherwise what the benchmarks measure.
ENV CARGO_PROFILE_DIST_DEBUG=false CARGO_PROFILE_DIST_STRIP=symbols
ARG PACKAGES="--package ingestor --package processor --package alert --package gateway --package loadgen"
COPY --from=plan /gostocks/recipe.json .
RUN cargo chef cook --profile dist --locked ${PACKAGES}
COPY . .
RUN cargo build --profile dist --locked ${PACKAGES}

# What every program needs at run time, each library where its loader looks for it.
FROM build AS root
RUN mkdir -p /root-fs/etc/ssl/certs /root-fs/bin /empty \
    && cp /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/ \
    && echo 'gostocks:x:10001:10001::/:/bin/false' > /root-fs/etc/passwd \
    && for program in ingestor processor alert gateway loadgen; do ldd target/dist/$program; done \
        | grep -o '/[^ ]*' | sort -u | xargs -I{} cp --parents --dereference {} /root-fs/

FROM scratch AS runtime
COPY --from=root /root-fs/ /
WORKDIR /
USER 10001:10001

FROM runtime AS ingestor
COPY --from=build /gostocks/target/dist/ingestor /bin/
ENTRYPOINT ["/bin/ingestor"]

FROM runtime AS processor
COPY --from=build /gostocks/target/dist/processor /bin/
ENTRYPOINT ["/bin/processor"]

FROM runtime AS alert
# Where it keeps its snapshots: a volume that is mounted there is its own.
COPY --from=root --chown=10001:10001 /empty /snapshots
COPY --from=build /gostocks/target/dist/alert /bin/
ENTRYPOINT ["/bin/alert"]

FROM runtime AS gateway
COPY --from=build /gostocks/target/dist/gateway /bin/
ENTRYPOINT ["/bin/gateway"]

FROM runtime AS loadgen
COPY --from=build /gostocks/target/dist/loadgen /bin/
ENTRYPOINT ["/bin/loadgen"]
