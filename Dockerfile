# syntax=docker/dockerfile:1
# The image of `wattribute`: agent, gateway and commands. Build: docker build -t wattribute .
# It is reproducible: same sources, base and SOURCE_DATE_EPOCH give the same files.
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG SOURCE_DATE_EPOCH=0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH}
WORKDIR /src
COPY image/build-requirements.txt image/requirements.txt image/
RUN python -m venv --without-pip /opt/wattribute \
    && pip install --require-hashes --requirement image/build-requirements.txt \
    && pip --python /opt/wattribute/bin/python install --require-hashes --only-binary :all: \
        --requirement image/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
COPY image/sbom.py image/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/wattribute/bin/python install --no-deps --no-index /wheels/*.whl \
    && /opt/wattribute/bin/python image/sbom.py > /opt/wattribute/sbom.cdx.json \
    && rm -f /opt/wattribute/bin/[Aa]ctivate* \
    && find /opt/wattribute -name direct_url.json -delete \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/wattribute/lib \
    && find /opt/wattribute -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="wattribute" \
      org.opencontainers.image.description="Power, energy and emissions of nodes, workloads and training runs for Prometheus" \
      org.opencontainers.image.source="https://github.com/wattribute/wattribute" \
      org.opencontainers.image.documentation="https://github.com/wattribute/wattribute/tree/main/docs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="The Wattribute maintainers" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# What installs software has no place in an image that runs it.
RUN rm -rf /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/pydoc* \
        /usr/local/lib/python3.*/site-packages/* /usr/local/lib/python3.*/ensurepip \
        /usr/local/lib/python3.*/idlelib /usr/local/lib/python3.*/test /usr/local/lib/python3.*/turtledemo
COPY --from=build /opt/wattribute /opt/wattribute
ENV PATH=/opt/wattribute/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 10187 10188
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/wattribute/bin/wattribute"]
CMD ["agent", "--web.listen-address=:10187"]
