"""The generator behind LitServe: python -m benchmarks.peers.litserve_server"""

import secrets

import litserve
from fastapi import Response

from benchmarks.peers import settings
from benchmarks.peers.drawing import Order, draw_sheet, draw_sheets, load_engine


class Digits(litserve.LitAPI):
    def setup(self, device: str) -> None:
        load_engine()

    def decode_request(self, request: dict[str, int]) -> Order:
        return Order(request["label"], request.get("n", 1), secrets.randbits(53))

    def encode_response(self, output: bytes) -> Response:
        return Response(output, media_type="image/png")


class OneByOne(Digits):
    def predict(self, order: Order) -> bytes:
        return draw_sheet(*order)


class Together(Digits):
    def batch(self, orders: list[Order]) -> list[Order]:
        return orders

    def predict(self, orders: list[Order]) -> list[bytes]:
        return draw_sheets(orders)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output


def main() -> None:
    if settings.BATCH > 1:
        api: Digits = Together(max_batch_size=settings.BATCH, batch_timeout=settings.WAIT)
    else:
        api = OneByOne()
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=settings.WORKERS, fast_queue=settings.FAST_QUEUE
    )
    server.run(
        host="127.0.0.1",
        port=settings.PORT,
        num_api_servers=settings.FACES,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
