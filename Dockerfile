# The service alone: Postgres and NATS are services beside it (docker-compose.yml).
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin codexapi && cp target/release/codexapi /usr/local/bin/codexapi

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin codexapi
COPY --from=build /usr/local/bin/codexapi /usr/local/bin/codexapi
USER codexapi
ENV CODEXAPI_LISTEN=0.0.0.0:8080
EXPOSE 8080
# Liveness only: a container is not restarted because its database is away.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["curl", "--fail", "--silent", "--output", "/dev/null", "http://127.0.0.1:8080/health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["codexapi"]
CMD ["serve"]
