"""A simple server: FastAPI, a generator in plain torch, PNG by Pillow: python -m benchmarks.peers.plain_fastapi"""

import secrets

import uvicorn
from fastapi import FastAPI, Response

from benchmarks.peers import settings
from benchmarks.peers.drawing import draw_sheet, load_engine

app = FastAPI()


@app.get("/digits/{label}")
def digits(label: int, n: int = 1) -> Response:
    return Response(draw_sheet(label, n, secrets.randbits(53)), media_type="image/png")


if __name__ == "__main__":
    load_engine()
    uvicorn.run(app, host="127.0.0.1", port=settings.PORT, log_level="warning", access_log=False)
