"""Response body of what a running job shows between two epochs."""

import base64
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from models.records import LiveLosses, Phase, Record
from worker.jobs.live import ENTRIES, Live


class LiveSample(Record):
    """Images of the first ten classes, with the latent of the first row of the epochs' plots."""

    number: int = Field(description="Number of the entry that has this sample.")
    epoch: int
    batch: int = Field(description="Iterations done in this epoch.")
    png: str = Field(description="A PNG of 28 x 280 pixels and at most 4 kB, in base64.")


class LiveView(Record):
    phase: Phase | None = Field(description="What the run does now; null if it does not run, or has not begun.")
    newest: int = Field(description="Number of the newest entry, for `after` of the next request; 0 if there is none.")
    losses: list[LiveLosses] = Field(description="Entries after `after` that have losses, oldest first.")
    sample: LiveSample | None = Field(description="The newest sample; null if its number is not above `after`.")

    @classmethod
    def of(cls, live: Live) -> "LiveView":
        sample = live.sample and LiveSample(
            number=live.sample.number,
            epoch=live.sample.epoch,
            batch=live.sample.batch,
            png=base64.b64encode(live.sample.png).decode(),
        )
        return cls(phase=live.phase, newest=live.newest, losses=live.losses, sample=sample)


class LiveQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: Annotated[int, Field(ge=0, le=2**53)] = Field(
        0, description="Return only what is newer than this entry. A number above the newest counts as 0."
    )
    limit: Annotated[int, Field(ge=1, le=ENTRIES)] = Field(ENTRIES, description="Maximum number of losses.")
