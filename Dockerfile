# docker build -t dustgate . && docker run -p 8080:8080 -v ./dustgate.toml:/etc/dustgate/dustgate.toml:ro dustgate
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin dustgate

FROM debian:bookworm-slim
# Authorities for https origins.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/dustgate --create-home dustgate
COPY --from=build /src/target/release/dustgate /usr/local/bin/dustgate
USER 10001
# The default stores are below ./data.
WORKDIR /var/lib/dustgate
VOLUME /var/lib/dustgate
# The operator's port stays on loopback: off it, it needs a token.
ENV DUSTGATE_SERVER__LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD \
  ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8081; printf 'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3; head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["dustgate"]
CMD ["serve", "-c", "/etc/dustgate/dustgate.toml"]
