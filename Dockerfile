# docker build -t dustgate .
# docker run -p 8080:8080 --stop-timeout 40 -v dustgate:/var/lib/dustgate/data \
#   -v "$PWD/dustgate.toml:/etc/dustgate/dustgate.toml:ro" dustgate
#
# The volume keeps what is stored. Docker kills 10 s after its first signal, which is less than `server.drain`
# (30s) lets a request take. Three of them and all they need: docker-compose.yml.
FROM rust:1.95-bookworm AS build
WORKDIR /src
# What it is built of changes seldom: a layer of its own, with nothing of ours in it.
COPY Cargo.toml Cargo.lock ./
# The workspace's other members are not built; the lock counts them.
COPY tests/fuzz/Cargo.toml tests/fuzz/
COPY tests/interleavings/Cargo.toml tests/interleavings/
COPY tests/s3server/Cargo.toml tests/s3server/
RUN mkdir src \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs \
 && cargo build --release --locked --bin dustgate \
 && rm -r src target/release/deps/*dustgate* target/release/dustgate*
COPY README.md ./
COPY src src
COPY config config
# Older than what was built in the layer before, it would not be built.
RUN touch src/main.rs src/lib.rs \
 && cargo build --release --locked --bin dustgate

# What the program needs and nothing else: its libraries, and authorities for https origins. There is no shell
# and no package manager in the image.
FROM debian:bookworm-slim AS packed
COPY --from=build /src/target/release/dustgate /usr/local/bin/dustgate
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && mkdir -p /image/etc/ssl/certs /image/usr/local/bin /state/data \
 && cp -L --parents $(ldd /usr/local/bin/dustgate | grep -o '/[^ ]*') /image/ \
 && cp /usr/local/bin/dustgate /image/usr/local/bin/ \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && echo 'dustgate:x:10001:10001::/var/lib/dustgate:' > /image/etc/passwd \
 && echo 'dustgate:x:10001:' > /image/etc/group

FROM scratch
LABEL org.opencontainers.image.title="dustgate" \
      org.opencontainers.image.description="An HTTP read-through caching reverse proxy: one fetch per miss" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=packed /image/ /
# The stores below ./data belong to the user that runs it: a named volume that is mounted there for the first
# time takes that over. A directory of the host does not: chown 10001.
COPY --from=packed --chown=10001:10001 /state/ /var/lib/dustgate/
USER 10001
WORKDIR /var/lib/dustgate
ENV PATH=/usr/local/bin
# The operator's port stays on loopback. DUSTGATE_ADMIN__LISTEN=0.0.0.0:8081 opens it, and then needs
# DUSTGATE_ADMIN__TOKEN.
ENV DUSTGATE_SERVER__LISTEN=0.0.0.0:8080
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=4s --start-period=10s \
  CMD ["dustgate", "check", "--live", "-c", "/etc/dustgate/dustgate.toml"]
ENTRYPOINT ["dustgate"]
CMD ["serve", "-c", "/etc/dustgate/dustgate.toml"]
