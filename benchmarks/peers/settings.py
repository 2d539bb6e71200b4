"""Settings of a peer, from environment variables that begin with PEER_."""

import os

GENERATOR = os.environ.get("PEER_GENERATOR", "")  # a generator.safetensors
PORT = int(os.environ.get("PEER_PORT", "8000"))
DRAWING = os.environ.get("PEER_DRAWING", "eager")  # or `ours`
LAYOUT = os.environ.get("PEER_LAYOUT", "channels_last")  # memory layout of the eager generator; or `contiguous`
PNG = os.environ.get("PEER_PNG", "ours")  # or `pillow`: Pillow's default
BATCH = int(os.environ.get("PEER_BATCH", "1"))  # largest number of requests in a batch
WAIT = float(os.environ.get("PEER_WAIT", "0"))  # seconds to wait for a batch to fill
WORKERS = int(os.environ.get("PEER_WORKERS", "1"))  # processes that draw
FACES = int(os.environ.get("PEER_FACES", "1"))  # HTTP processes, if they are separate
THREADS = int(os.environ.get("PEER_THREADS", "0"))  # threads of torch in each process; 0 for its default
FAST_QUEUE = os.environ.get("PEER_FAST_QUEUE", "0") == "1"  # LitServe's queues over ZeroMQ
