# layerquant on NVIDIA GPUs, for evaluators. Built by docker-compose.yml's profile `gpu`: docs/deployment.md

FROM nvidia/cuda:12.8.1-devel-ubuntu24.04 AS builder
# Ubuntu's archive keeps one version of a package: a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/layerquant
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY tools tools
COPY prompts prompts
COPY configs configs
COPY demo demo
COPY evaluators evaluators
COPY optimizer optimizer
# The driver is not here while building: a stand-in for linking, and for the look at what was built.
RUN ln --symbolic libcuda.so /usr/local/cuda/lib64/stubs/libcuda.so.1
# All architectures that CUDA and llama.cpp know; one alone compiles much faster: -DCMAKE_CUDA_ARCHITECTURES=89
ARG CMAKE_ARGS="-DGGML_CUDA=on -DGGML_NATIVE=OFF"
ENV UV_NO_DEV=1 UV_NO_EDITABLE=1 UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
RUN --mount=type=cache,target=/root/.cache/uv \
    CMAKE_ARGS="${CMAKE_ARGS}" LD_LIBRARY_PATH="/usr/local/cuda/lib64/stubs:${LD_LIBRARY_PATH}" python3 tools/set_up.py

FROM nvidia/cuda:12.8.1-runtime-ubuntu24.04
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libgomp1 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 layerquant \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp layerquant \
    && install --directory --owner 10001 --group 10001 /studies
COPY --from=builder /opt/layerquant/.venv /opt/layerquant/.venv
COPY docker/healthy /usr/local/bin/healthy
# What is written lies in volumes or in /tmp: the rest is read-only.
ENV PATH=/opt/layerquant/.venv/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba HF_HOME=/studies/hub
USER 10001:10001
WORKDIR /studies
CMD ["layerquant", "--help"]
