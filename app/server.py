"""Uvicorn, taught that streams do not end by themselves."""

import socket
from typing import Any

import uvicorn
from fastapi import FastAPI

from app.events import Events

GRACE_SECONDS = 20  # for the requests in hand: a hundred sheets of digits take a slow machine that long


class Server(uvicorn.Server):
    """Ends whom it streams to before it ends itself: they would hold it up, only to be cut off after all."""

    def __init__(self, app: FastAPI, **options: Any) -> None:
        super().__init__(
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS, **options)
        )
        self.app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        events: Events = self.app.state.services.events
        events.let_go()
        await super().shutdown(sockets)
