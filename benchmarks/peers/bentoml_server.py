"""The generator behind BentoML: python -m bentoml serve benchmarks.peers.bentoml_server:Digits

One service draws and responds, so batched requests need no second process: a batchable method takes a list and returns
a list, and `Sheet` sends the result for one request as a picture.
"""

import secrets
from typing import Any

import bentoml
from starlette.responses import Response

from benchmarks.peers import settings
from benchmarks.peers.drawing import Order, draw_sheets, load_engine


class Sheet(bentoml.IODescriptor):
    @classmethod
    async def to_http_response(cls, obj: list[bytes], serde: Any) -> Response:
        return Response(obj[0], media_type="image/png")


if settings.BATCH > 1:
    api = bentoml.api(
        batchable=True,
        max_batch_size=settings.BATCH,
        max_latency_ms=round(1000 * settings.WAIT) or 60_000,
        output_spec=Sheet,
    )
else:
    api = bentoml.api(output_spec=Sheet)


@bentoml.service(workers=settings.WORKERS, threads=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Digits:
    def __init__(self) -> None:
        load_engine()

    @api
    def digits(self, orders: list[tuple[int, int]]) -> list[bytes]:
        return draw_sheets([Order(label, n, secrets.randbits(53)) for label, n in orders])
