# The MinIO server, built from its released Go module: the project ships no images any more.
# It rests on the base of the other images, so that it shares their layers, and Python checks its health.
ARG GO_IMAGE=golang:1.26-bookworm
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${GO_IMAGE} AS build
ARG MINIO=v0.0.0-20260212201848-7aac2a2c5b7c
RUN --mount=type=secret,id=packages --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache \
    set -a && if [ -f /run/secrets/packages ]; then . /run/secrets/packages; fi && \
    GOMODCACHE=/go/pkg/mod GOBIN=/out CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' github.com/minio/minio@${MINIO}

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="driftloop-minio" \
      org.opencontainers.image.description="The MinIO server, built from its Go module" \
      org.opencontainers.image.licenses="AGPL-3.0-only"
COPY --from=build /out/minio /usr/local/bin/minio
# A volume that is mounted here for the first time takes over this owner.
RUN mkdir /data && chown 10001:10001 /data
ENV HOME=/tmp PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 9000 9001
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=5 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9000/minio/health/ready', timeout=2)"]
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
CMD ["minio", "server", "--quiet", "--address", ":9000", "--console-address", ":9001", "/data"]
