"""The records of what a running job shows between two epochs."""

import base64

from acgan_client.records import Loss, Record


class LiveLosses(Record):
    """Mean losses of some iterations of a running job."""

    number: int
    epoch: int
    batch: int
    batches: int
    iterations: int
    generator: Loss
    discriminator: Loss


class LiveSample(Record):
    """Images of the first ten classes; `png` is in base64, `content` are its bytes."""

    number: int
    epoch: int
    batch: int
    png: str

    @property
    def content(self) -> bytes:
        return base64.b64decode(self.png)


class Live(Record):
    """What a running job shows between two epochs. `newest` is the `after` of the next call."""

    phase: str | None
    newest: int
    losses: list[LiveLosses]
    sample: LiveSample | None
