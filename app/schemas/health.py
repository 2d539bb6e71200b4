"""The response body of the readiness probe."""

from pydantic import BaseModel, Field


class Readiness(BaseModel):
    ready: bool = Field(description="Whether this process can serve digits or accept jobs.")
    draining: bool = Field(False, description="Whether the process will stop soon, as after SIGTERM.")
    redis: str = Field(description="`up`, or `down` with the reason.")
    serving: str | None = Field(description="Id of the checkpoint being served.")
    trouble: str | None = Field(None, description="Why a newer checkpoint is not being served.")
    loops: dict[str, str] = Field(
        {}, description="Background loops of this process by name: `running`, or the reason why a loop has stopped."
    )
    worker_loops: dict[str, str] = Field(
        {},
        description="The background loops of all workers by name: `running`, or why one does not do its work. Empty "
        "without a worker, or if Redis does not answer.",
    )
