# One image for the API and the worker: `acgan serve` and `acgan worker`.
FROM python:3.11-slim-bookworm

# Another package index for torch. The default index has a torch with CUDA for x86 (several GB) and a CPU-only torch for
# ARM. Set PyTorch's CPU index to save the space, or its CUDA index for a GPU on an ARM machine.
ARG TORCH_INDEX=

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

WORKDIR /srv/acgan

# Torch in a separate layer, because it is large and seldom changes.
COPY constraints.txt ./
RUN pip install ${TORCH_INDEX:+--no-deps --index-url "$TORCH_INDEX"} -c constraints.txt torch

COPY pyproject.toml README.md LICENSE ./
COPY client client
COPY models models
COPY worker worker
COPY app app
RUN pip install -c constraints.txt '.[cloud]'

# A torch with CUDA includes Triton, which compiles its kernels with a C compiler when a training starts.
RUN if python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("triton") is None)'; then \
        apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; fi

# The user's home is /data, the only writable folder in a container: CUDA and Triton keep their caches there.
RUN useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin acgan \
    && install -d -m 0700 -o acgan -g acgan /data
USER 10001
WORKDIR /data
VOLUME /data

# NVIDIA's container toolkit mounts CUDA and nvidia-smi if a GPU is assigned. NVIDIA_VISIBLE_DEVICES is not set, because
# in an image it gives every GPU of the machine to every container.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENV ACGAN_HOME=/data ACGAN_HOST=0.0.0.0 ACGAN_PORT=8000
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["acgan"]
CMD ["serve"]
