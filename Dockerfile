# One image for the API and the worker: `acgan serve` and `acgan worker`.
FROM python:3.11-slim-bookworm

# Another package index for torch, e.g. PyTorch's own CPU one; the default index brings CUDA on x86.
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

RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin acgan \
    && install -d -m 0700 -o acgan -g acgan /data
USER 10001
WORKDIR /data
VOLUME /data

ENV ACGAN_HOME=/data ACGAN_HOST=0.0.0.0 ACGAN_PORT=8000
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["acgan"]
CMD ["serve"]
