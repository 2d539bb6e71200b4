# One image for the API and the worker: `acgan serve` and `acgan worker`.
FROM python:3.11-slim-bookworm

# Another package index for torch. The default index has a torch with CUDA for x86 (several GB) and one for processors
# only for ARM: name PyTorch's CPU index to save the space, or its CUDA index for a GPU beside an ARM processor.
ARG TORCH_INDEX=

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

WORKDIR /srv/acgan

# Torch by itself: it is large and seldom changes.
COPY constraints.txt ./
RUN pip install ${TORCH_INDEX:+--no-deps --index-url "$TORCH_INDEX"} -c constraints.txt torch

COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY worker worker
COPY app app
RUN pip install -c constraints.txt '.[cloud]'

# A torch with CUDA comes with Triton, which compiles its kernels with the C compiler when a training starts.
RUN if python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("triton") is None)'; then \
        apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; fi

# Its home is /data, the one folder that is writable in a container: CUDA and Triton keep their caches there.
RUN useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin acgan \
    && install -d -m 0700 -o acgan -g acgan /data
USER 10001
WORKDIR /data
VOLUME /data

# What NVIDIA's container toolkit mounts if a GPU is assigned: CUDA, and nvidia-smi. Which GPU, if any, is not said here:
# NVIDIA_VISIBLE_DEVICES in an image gives every GPU of the machine to every container.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENV ACGAN_HOME=/data ACGAN_HOST=0.0.0.0 ACGAN_PORT=8000
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["acgan"]
CMD ["serve"]
