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
# describes each AWS service in a file; those that an S3 client may ask for (sso and sts for credentials) stay.
RUN /opt/tools/bin/uv export -q --frozen --no-dev --no-emit-project --extra s3 -o vendor.txt \
 && /opt/tools/bin/uv pip install -q --python /opt/venv/bin/python --require-hashes --target /opt/paceline/vendor -r vendor.txt \
 && ! find /opt/paceline/vendor -name '*.so' | grep . \
 && rm -rf /opt/paceline/vendor/bin /opt/paceline/vendor/.lock \
 && cd /opt/paceline/vendor/botocore/data \
 && find . -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -rf {} + \
 && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/opt/paceline/vendor python3 -c \
    "import boto3; boto3.client('s3', region_name='eu-west-1', aws_access_key_id='a', aws_secret_access_key='b')"

FROM tools AS sources
WORKDIR /build
COPY pyproject.toml README.md LICENSE* ./
COPY operator/paceline_operator operator/paceline_operator
COPY sdk/paceline sdk/paceline
RUN /opt/tools/bin/hatchling build -t wheel -d dist \
 && /opt/tools/bin/uv pip install -q --python /opt/tools/bin/python --no-deps --compile-bytecode --target /opt/app dist/*.whl \
 && mkdir -p /opt/paceline/core && cp -r sdk/paceline /opt/paceline/core/

FROM ${BASE}
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=dependencies /opt/paceline/vendor /opt/paceline/vendor
COPY --from=sources /opt/paceline/core /opt/paceline/core
COPY --from=sources /opt/app /opt/app
# Nothing is written at run time: the root file system may be read-only.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["python", "-m", "paceline_operator.main"]
