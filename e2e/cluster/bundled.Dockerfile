# An image that has its own agent, for `spec.agent.inject: false`: what a user's Dockerfile does with
# `pip install "paceline[s3]"`, from the sources of this repository.
ARG BASE=python:3.13-slim

FROM ${BASE}
# A Debian base marks its Python as managed by apt, hence the first one.
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# What it needs, before any source: a change of Python files fetches nothing.
COPY pyproject.toml ./
RUN python3 -c "import tomllib; told = tomllib.load(open('pyproject.toml', 'rb')); \
print(*told['build-system']['requires'], *told['project']['dependencies'], *told['project']['optional-dependencies']['s3'], sep='\n')" \
    > needed.txt && python3 -m pip install -q -r needed.txt
COPY README.md LICENSE ./
COPY operator/paceline_operator operator/paceline_operator
COPY sdk/paceline sdk/paceline
RUN python3 -m pip install -q --no-build-isolation ".[s3]" && rm -rf /build/*
WORKDIR /workspace
USER 1000:1000
