"""Everything the HTTP face and the command line can be told from outside, on top of what the worker can."""

from pydantic import Field

from worker.settings import WorkerSettings


class AppSettings(WorkerSettings):
    host: str = Field("127.0.0.1", description="Address to listen on; `0.0.0.0` for all of this machine's.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    max_body_bytes: int = Field(65536, ge=1024, description="The longest request body that is read.")
    cached_checkpoints: int = Field(4, ge=1, description="Generators kept in memory beside the one being served.")
    queue_limit: int = Field(100, ge=1, description="Jobs that may wait; more are refused with 429.")
    drawing_threads: int = Field(0, ge=0, description="Threads that draw; 0 for one a processor, and one on a GPU.")
    drawing_wait_seconds: float = Field(
        1.0,
        gt=0,
        description="How long digits may wait to be drawn: where it would be longer, 503.",
    )
    stock: int = Field(
        8192, ge=0, description="Digits of each class kept ready, at most, for requests without a seed: 784 bytes each."
    )
    event_streams: int = Field(100, ge=1, description="Followers of jobs' events that one process streams to.")
