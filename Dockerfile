# The operator, and the agent that its init container copies into training pods.
#   docker build -t paceline/operator:dev .
# BASE: any Debian-like image with Python 3.10 or later and its venv module.
ARG BASE=python:3.13-slim

FROM ${BASE} AS tools
RUN python3 -m venv /opt/tools && /opt/tools/bin/pip install --no-cache-dir uv==0.9.9 hatchling==1.29.0
# uv trusts what the system trusts, a company's own authority for example.
ENV UV_NATIVE_TLS=1 UV_NO_CACHE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never

# Everything locked, before any source: a change of Python files rebuilds nothing of this.
FROM tools AS dependencies
WORKDIR /build
COPY pyproject.toml uv.lock ./
RUN python3 -m venv --without-pip /opt/venv \
 && /opt/tools/bin/uv export -q --frozen --no-dev --no-emit-project --extra operator -o operator.txt \
 && /opt/tools/bin/uv pip install -q --python /opt/venv/bin/python --require-hashes --compile-bytecode -r operator.txt \
 && /opt/venv/bin/python -c "import site, pathlib; pathlib.Path(site.getsitepackages()[0], 'app.pth').write_text('/opt/app\n')"
# The agent's vendored wheels are pure Python, so that they work with whatever Python a training image has. botocore
# describes each AWS service in a file; those that an S3 client may ask for (sso and sts for credentials) stay. A pod whose
# Python is of this version need not compile them, which takes a second of CPU; unchecked, as copies have other times.
RUN /opt/tools/bin/uv export -q --frozen --no-dev --no-emit-project --extra s3 --no-emit-package google-crc32c -o vendor.txt \
 && /opt/tools/bin/uv pip install -q --python /opt/venv/bin/python --require-hashes --target /opt/paceline/vendor -r vendor.txt \
 && ! find /opt/paceline/vendor -name '*.so' | grep . \
 && rm -rf /opt/paceline/vendor/bin /opt/paceline/vendor/.lock \
 && cd /opt/paceline/vendor/botocore/data \
 && find . -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -rf {} + \
 && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/opt/paceline/vendor python3 -c \
    "from botocore.session import Session as S; S().create_client('s3', region_name='eu-west-1', aws_access_key_id='a', aws_secret_access_key='b')" \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/paceline/vendor
# But for the checksum, which is compiled: one small wheel for each Python, named as that Python names its extensions. The
# agent takes the one that its interpreter could load; with musl or another Python it goes on without.
RUN /opt/tools/bin/uv export -q --frozen --no-dev --no-emit-project --extra s3 \
  | awk '/^google-crc32c==/{on=1} on{print} on && !/\\$/{exit}' > native.txt && test -s native.txt \
 && for version in 3.10 3.11 3.12 3.13 3.14; do \
      /opt/tools/bin/uv pip install -q --python /opt/venv/bin/python --python-version "$version" --only-binary :all: \
        --no-deps --require-hashes --target "wheel-$version" -r native.txt \
   && rm -rf "wheel-$version/bin" "wheel-$version/.lock" && mkdir -p /opt/paceline/native \
   && mv "wheel-$version" "/opt/paceline/native/$(basename "wheel-$version"/google_crc32c/_crc32c.*.so | cut -d. -f2)" \
   || exit 1; done

FROM tools AS sources
WORKDIR /build
COPY pyproject.toml README.md LICENSE* ./
COPY operator/paceline_operator operator/paceline_operator
COPY sdk/paceline sdk/paceline
RUN /opt/tools/bin/hatchling build -t wheel -d dist \
 && /opt/tools/bin/uv pip install -q --python /opt/tools/bin/python --no-deps --compile-bytecode --target /opt/app dist/*.whl \
 && mkdir -p /opt/paceline/core && cp -r sdk/paceline /opt/paceline/core/ \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/paceline/core

FROM ${BASE}
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=dependencies /opt/paceline/vendor /opt/paceline/vendor
COPY --from=dependencies /opt/paceline/native /opt/paceline/native
COPY --from=sources /opt/paceline/core /opt/paceline/core
COPY --from=sources /opt/app /opt/app
# Nothing is written at run time: the root file system may be read-only.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["python", "-m", "paceline_operator.main"]
