# An image that has its own agent, for `spec.agent.inject: false`: what a user's Dockerfile does with
# `pip install "paceline[s3]"`, from the sources of this repository.
ARG BASE=python:3.13-slim

FROM ${BASE}
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY operator/paceline_operator operator/paceline_operator
COPY sdk/paceline sdk/paceline
# A Debian base marks its Python as managed by apt, hence the variable.
RUN PIP_BREAK_SYSTEM_PACKAGES=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q ".[s3]" \
 && rm -rf /build/*
WORKDIR /workspace
USER 1000:1000
