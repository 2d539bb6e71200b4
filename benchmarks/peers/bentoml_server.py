"""The generator behind BentoML: python -m bentoml serve benchmarks.peers.bentoml_server:Digits

Without batching one service draws and answers. With batching a second service draws what is asked for together: what
a batchable method returns cannot be a picture, so the service that answers is another one, as BentoML's documentation
has it.
"""

import secrets
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from benchmarks.peers import settings
from benchmarks.peers.drawing import Order, draw_sheet, draw_sheets, load_engine

Png = Annotated[bytes, ContentType("image/png")]


@bentoml.service(workers=settings.WORKERS, threads=1, traffic={"timeout": 60})
class Drawer:
    def __init__(self) -> None:
        load_engine()

    @bentoml.api(batchable=True, max_batch_size=max(2, settings.BATCH), max_latency_ms=int(1000 * settings.WAIT) or 1)
    def draw(self, orders: list[tuple[int, int, int]]) -> list[bytes]:
        return draw_sheets([Order(*order) for order in orders])


if settings.BATCH > 1:

    @bentoml.service(workers=settings.FACES, traffic={"timeout": 60})
    class Digits:
        drawer = bentoml.depends(Drawer)

        @bentoml.api
        async def digits(self, label: int, n: int = 1) -> Png:
            [png] = await self.drawer.to_async.draw([(label, n, secrets.randbits(53))])
            return bytes(png)

else:

    @bentoml.service(workers=settings.WORKERS, threads=1, traffic={"timeout": 60})
    class Digits:  # type: ignore[no-redef]
        def __init__(self) -> None:
            load_engine()

        @bentoml.api
        def digits(self, label: int, n: int = 1) -> Png:
            return draw_sheet(label, n, secrets.randbits(53))
