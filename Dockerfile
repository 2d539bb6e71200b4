# One image for the API and the worker: `acgan serve` and `acgan worker`.
FROM python:3.11-slim-bookworm AS packages
# Another package index for torch. The default index has a torch with CUDA for x86 (several GB) and a CPU-only torch for
# ARM. Set PyTorch's CPU index to save the space, or its CUDA index for a GPU on an ARM machine.
ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/packages
COPY constraints.txt requirements.lock ./
# Every file has the hash in the lock, except those of torch: its builds differ between package indexes.
RUN pip --python /opt/packages/bin/python install --require-hashes --no-deps -r requirements.lock
RUN pip --python /opt/packages/bin/python install ${TORCH_INDEX:+--no-deps --index-url "$TORCH_INDEX"} -c constraints.txt torch \
    && pip --python /opt/packages/bin/python install -c constraints.txt torch \
    && printf '/opt/acgan\n/opt/extras\n' > "$(echo /opt/packages/lib/python3*/site-packages)/acgan.pth"

# acgan in a folder of its own, so that a new version changes only a small layer.
FROM packages AS acgan
COPY requirements-dev.lock pyproject.toml README.md LICENSE ./
RUN python -m venv --without-pip /opt/build \
    && sed -n '/^setuptools==/,/[^\\]$/p' requirements-dev.lock > build.lock \
    && pip --python /opt/build/bin/python install --require-hashes -r build.lock
COPY client client
COPY models models
COPY worker worker
COPY app app
RUN pip --python /opt/build/bin/python wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && pip --python /opt/packages/bin/python install --no-deps --target /opt/acgan wheels/*.whl

# Optional extras of acgan, such as `tracing,parquet`, with the hashes of the lock. Without any, the layer is empty.
FROM acgan AS extras
ARG EXTRAS=
COPY deploy/extras.py deploy/extras.py
RUN install -d /opt/extras && if [ -n "$EXTRAS" ]; then \
        python deploy/extras.py "$EXTRAS" wheels/*.whl /opt/packages/bin/python > extras.lock \
        && pip --python /opt/build/bin/python install --require-hashes --no-deps --target /opt/extras -r extras.lock; fi

FROM python:3.11-slim-bookworm
COPY --from=packages /opt/packages /opt/packages
# A torch with CUDA includes Triton, which compiles its kernels with a C compiler when a training starts.
RUN if ls -d /opt/packages/lib/python3*/site-packages/triton > /dev/null 2>&1; then \
        apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; fi
# The user's home is /data, the only writable folder in a container: CUDA and Triton keep their caches there.
RUN useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin acgan \
    && install -d -m 0700 -o acgan -g acgan /data
COPY --from=extras /opt/extras /opt/extras
COPY --from=acgan /opt/acgan /opt/acgan
COPY deploy/healthcheck /usr/local/bin/healthcheck

ARG VERSION=0.2.0
ARG REVISION=
LABEL org.opencontainers.image.title="acgan" \
      org.opencontainers.image.description="Train and serve a class-conditional digit generator" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

USER 10001
WORKDIR /data
VOLUME /data

# NVIDIA's container toolkit mounts CUDA and nvidia-smi if a GPU is assigned. NVIDIA_VISIBLE_DEVICES is not set, because
# in an image it gives every GPU of the machine to every container.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENV PATH=/opt/acgan/bin:/opt/packages/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# A worker's metrics port is for the health check; ACGAN_METRICS_HOST=0.0.0.0 opens it to Prometheus.
ENV ACGAN_HOME=/data ACGAN_HOST=0.0.0.0 ACGAN_PORT=8000 ACGAN_METRICS_PORT=9108
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["acgan"]
CMD ["serve"]
