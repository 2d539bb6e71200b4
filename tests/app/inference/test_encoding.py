"""Files of digits that are in memory: small ones are encoded at once, large ones do not delay the event loop."""

import asyncio
import threading

import pytest
import torch

from app.inference.batcher import Busy
from app.inference.service import ENCODINGS_WAITING, SMALL, InferenceService
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from models.sampling.formats import FORMATS, Look
from worker.observability.background_loops import Supervisor


@pytest.mark.parametrize(
    ("form", "n", "look", "is_small"),
    [
        ("png", 128, Look(), True),
        ("png", 128, Look(padding=2), True),
        ("png", 128, Look(scale=8), False),
        ("png", 1, Look(scale=8, padding=8), True),
        ("png", 1000, Look(), False),
        ("zip", 8, Look(), True),
        ("zip", 128, Look(), False),
        ("npy", 128, Look(scale=8), True),
    ],
)
def test_the_work_follows_format_and_look(form: str, n: int, look: Look, is_small: bool) -> None:
    assert (FORMATS[form].work(n, look) <= SMALL) == is_small


def test_large_files_are_encoded_in_other_threads_and_not_without_limit(
    settings: AppSettings, store: CheckpointStore
) -> None:
    async def encode() -> None:
        inference = InferenceService(store, torch.device("cpu"), settings, Supervisor())
        here = threading.get_ident()
        assert await inference.encode(lambda: threading.get_ident().to_bytes(8), SMALL) == here.to_bytes(8)
        assert await inference.encode(lambda: threading.get_ident().to_bytes(8), SMALL + 1) != here.to_bytes(8)

        done = threading.Event()
        most = inference._encodings.limit
        assert most > ENCODINGS_WAITING
        waiting = [asyncio.create_task(inference.encode(lambda: bytes(done.wait(60)), SMALL + 1)) for _ in range(most)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="large sheets"):
            await inference.encode(bytes, SMALL + 1)
        assert await inference.encode(bytes, SMALL) == b""
        done.set()
        assert await asyncio.gather(*waiting) == [b"\0"] * most
        inference.close()

    asyncio.run(encode())
