# The operator's image: Debian's Python, the locked dependencies and our wheel; nothing runs as root, nothing needs a writable root.
#
# A tag can be moved, a digest can't. Release builds pass one: --build-arg BASE=docker.io/library/debian:12.12-slim@sha256:…
# (None is written here, since no image registry could be reached from where this file was written.)
ARG BASE=docker.io/library/debian:12.12-slim

FROM ${BASE} AS base
# libstdc++6 is for grpcio and protobuf.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libstdc++6 python3.11 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip
WORKDIR /src
# Dependencies first: they change less often than our own code, so this layer is mostly a cached one.
COPY requirements/runtime.txt requirements/
RUN python3.11 -m pip install --no-cache-dir --no-compile --only-binary=:all: --require-hashes --target=/app --requirement requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN python3.11 -m pip wheel --no-cache-dir --no-deps --wheel-dir=/wheels . \
    && python3.11 -m pip install --no-cache-dir --no-compile --no-deps --no-index --target=/app /wheels/*.whl
# The root file system is read-only at run time: without byte-code made here every start would compile everything again.
# "unchecked-hash" leaves times out of the files, so that equal inputs give equal layers.
RUN python3.11 -m compileall -q --invalidation-mode unchecked-hash /app

FROM base
LABEL org.opencontainers.image.title="Roadstead" \
      org.opencontainers.image.source="https://github.com/roadstead/roadstead" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /app /app
ENV PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# Any uid with group 0 will do.
USER 10001:0
# -P: the working directory is no place to import from.
ENTRYPOINT ["python3.11", "-P", "-m", "roadstead"]
