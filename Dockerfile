# The build needs nothing but Rust; the image holds the binary and nothing else of ours.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --profile dist --locked --bin streamgate

FROM debian:bookworm-slim
RUN groupadd --system --gid 10001 streamgate \
    && useradd --system --uid 10001 --gid 10001 --no-create-home streamgate \
    && install -d -o streamgate -g streamgate /data
COPY --from=build /build/target/dist/streamgate /usr/local/bin/streamgate
# By number, so that Kubernetes sees that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data

# Reachable from outside the container, though nothing is encrypted: publish the ports to a network
# that you trust, or mount certificates and name them: STREAMGATE_SERVER__TLS__CERT_FILE and
# STREAMGATE_SERVER__TLS__KEY_FILE. For the health check then say STREAMGATE_SERVER=https://...,
# STREAMGATE_TLS_CA_FILE and STREAMGATE_TLS_SERVER_NAME.
ENV STREAMGATE_SERVER__LISTEN=0.0.0.0:7400 \
    STREAMGATE_SERVER__HTTP_LISTEN=0.0.0.0:7401 \
    STREAMGATE_SERVER__INSECURE=true \
    STREAMGATE_SERVER__DATA_DIR=/data \
    STREAMGATE_LOG__FORMAT=json
EXPOSE 7400 7401

HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["streamgate", "health", "--timeout", "2s"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["streamgate"]
CMD ["serve"]
