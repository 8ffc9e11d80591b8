# MLflow's server as a service, whose database and artifacts lie in a volume; nothing of driftloop is in it.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE} AS dependencies
COPY requirements/uv.txt requirements/mlflow.txt /requirements/
RUN --mount=type=secret,id=packages --mount=type=cache,target=/root/.cache \
    set -a && if [ -f /run/secrets/packages ]; then . /run/secrets/packages; fi && \
    export UV_LINK_MODE=copy && \
    python -m venv /opt/uv && /opt/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r /requirements/uv.txt && \
    /opt/uv/bin/uv venv --quiet --python /usr/local/bin/python /opt/venv && \
    /opt/uv/bin/uv pip sync --quiet --compile-bytecode --require-hashes --python /opt/venv/bin/python /requirements/mlflow.txt

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="driftloop-mlflow" \
      org.opencontainers.image.description="An MLflow server" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp XDG_CACHE_HOME=/tmp/.cache MLFLOW_DISABLE_TELEMETRY=true
COPY --from=dependencies /opt/venv /opt/venv
RUN install -d -o 10001 -g 10001 /mlflow
USER 10001:10001
WORKDIR /tmp
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=5 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/health', timeout=4)"]
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1", "--backend-store-uri", "sqlite:////mlflow/mlflow.db", "--artifacts-destination", "/mlflow/artifacts"]
