# layerquant on a CPU; the scheduler, MLflow and the service run from it too. Built by docker-compose.yml: docs/deployment.md

FROM python:3.12.11-slim-bookworm AS builder
# Debian's archive keeps one version of a package: a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/layerquant
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY tools tools
COPY prompts prompts
COPY configs configs
COPY demo demo
COPY evaluators evaluators
COPY optimizer optimizer
# Not for this machine's CPU alone: any x86-64 with AVX2, so that all machines run the same engine.
ARG CMAKE_ARGS="-DGGML_NATIVE=OFF"
ENV UV_NO_DEV=1 UV_NO_EDITABLE=1 UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
RUN --mount=type=cache,target=/root/.cache/uv CMAKE_ARGS="${CMAKE_ARGS}" python3 tools/set_up.py

FROM python:3.12.11-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 layerquant \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp layerquant \
    && install --directory --owner 10001 --group 10001 /studies /artifacts
COPY --from=builder /opt/layerquant/.venv /opt/layerquant/.venv
COPY docker/healthy /usr/local/bin/healthy
# What is written lies in volumes or in /tmp: the rest is read-only.
ENV PATH=/opt/layerquant/.venv/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba HF_HOME=/studies/hub
USER 10001:10001
WORKDIR /studies
CMD ["layerquant", "--help"]
