# The hub as an image: no compiler, exact wheels with hashes, a numeric user without privileges, a root filesystem that may
# be read-only (mount something writable at /var/lib/hub for SQLite).
#   docker build -t topichub .
#   docker run -p 8000:8000 -v ./hub.yaml:/etc/hub/hub.yaml:ro topichub
# A plugin of your own: FROM topichub, then RUN /opt/hub/bin/pip install <package> as user 0, and name it in hub.yaml.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN python -m venv /opt/hub \
 && /opt/hub/bin/pip install --require-hashes --only-binary :all: -r requirements/runtime.txt \
 && pip install --require-hashes --only-binary :all: -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY hub hub
COPY plugins plugins
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/hub/bin/pip install --no-deps --no-index dist/*.whl \
 && /opt/hub/bin/python -m compileall -q /opt/hub/lib

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="topichub" \
      org.opencontainers.image.description="A self-hosted event hub" \
      org.opencontainers.image.licenses="BSD-3-Clause"
COPY --from=build /opt/hub /opt/hub
RUN mkdir -p /etc/hub /var/lib/hub && chown 10001:10001 /var/lib/hub
ENV PATH=/opt/hub/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HEALTH_URL=http://127.0.0.1:8000/health/ready
WORKDIR /var/lib/hub
USER 10001:10001
EXPOSE 8000 9000
# Set HEALTH_URL when the configuration serves health on another port.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-c", \
  "import os, urllib.request as r; r.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
ENTRYPOINT ["hub"]
CMD ["serve", "--config", "/etc/hub/hub.yaml"]
