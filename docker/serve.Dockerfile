# The image of `driftloop serve`: the champion answers over HTTP, and over gRPC where it is told to. No torch; the root can be read-only, with a volume at /spool.
# Build with docker/build.sh, which names it, and passes this machine's package index on as a secret.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE} AS dependencies
COPY requirements/uv.txt /requirements/
RUN --mount=type=secret,id=packages --mount=type=cache,target=/root/.cache \
    set -a && if [ -f /run/secrets/packages ]; then . /run/secrets/packages; fi && \
    python -m venv /opt/uv && /opt/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r /requirements/uv.txt
COPY requirements/serve.txt /requirements/
# What the service does not load goes: tests, headers, web pages, Arrow's Flight and S3, onnxruntime's C library beside its Python module.
RUN --mount=type=secret,id=packages --mount=type=cache,target=/root/.cache \
    set -a && if [ -f /run/secrets/packages ]; then . /run/secrets/packages; fi && \
    export UV_LINK_MODE=copy && \
    /opt/uv/bin/uv venv --quiet --python /usr/local/bin/python /opt/venv && \
    /opt/uv/bin/uv pip sync --quiet --compile-bytecode --require-hashes --python /opt/venv/bin/python /requirements/serve.txt && \
    cd /opt/venv/lib/python3.11/site-packages && \
    find . -type d -name tests -prune -exec rm -rf {} + && \
    rm -rf pyarrow/include pyarrow/*flight* pyarrow/*arrow_s3* pyarrow/_s3fs* numpy/_core/include \
        onnxruntime/capi/libonnxruntime.so.* onnxruntime/transformers matplotlib/mpl-data/sample_data Crypto/SelfTest tensorboard/webfiles.zip

FROM dependencies AS code
COPY . /src
RUN /opt/uv/bin/uv pip install --quiet --offline --no-deps --no-build-isolation --compile-bytecode \
    --python /opt/venv/bin/python --target /opt/driftloop /src && \
    chmod -R a+rX /opt/driftloop

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="driftloop-serve" \
      org.opencontainers.image.description="The champion, answering over HTTP: no torch" \
      org.opencontainers.image.licenses="Apache-2.0"
# Only /tmp can be written to: the root is read-only, and the numeric user has no home.
ENV PATH=/opt/driftloop/bin:/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/driftloop PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp XDG_CACHE_HOME=/tmp/.cache MPLCONFIGDIR=/tmp/.matplotlib MPLBACKEND=agg OMP_WAIT_POLICY=PASSIVE
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=code /opt/driftloop /opt/driftloop
# What is not in the store yet. A volume that is mounted here for the first time takes over this owner.
RUN mkdir /spool && chown 10001:10001 /spool
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
# Alive, not ready: a service without a champion waits for one, and restarting it would not bring one.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/v2/health/live', timeout=4)"]
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
CMD ["driftloop", "serve", "--help"]
