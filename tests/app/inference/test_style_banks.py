"""Making banks: one for concurrent requests, a bounded number, and an end at the shutdown."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import httpx2
import numpy as np
import pytest
import torch

from app.inference.batcher import Batcher, Busy
from app.inference.model_manager import LoadedModel
from app.inference.style_banks import MOST_MAKING, StyleBankNotReady, StyleBanks
from app.settings import AppSettings
from models.evaluation.style_bank import StyleBank, draw_bank, parts
from models.evaluation.verifier import find_verifier
from models.networks.acgan import Generator
from models.registry.manifest import FileRecord
from models.registry.store import GENERATOR
from models.sampling.sampler import prepare
from tests.models.registry.test_store import NEW, manifest
from tests.support import style_banks
from tests.support.serving import serving, until

Result = TypeVar("Result")
CPU = torch.device("cpu")


def a_model(number: int = 0) -> LoadedModel:
    made = manifest(NEW, 1)
    return LoadedModel(
        made.model_copy(update={"files": {GENERATOR: FileRecord(sha256=f"{number:064}", size=1)}}),
        prepare(Generator(10), CPU),
    )


def with_banks(
    use: Callable[[StyleBanks, Batcher], Coroutine[Any, Any, Result]], kept: int = 2, patience: float = 60.0
) -> Result:
    async def run() -> Result:
        batcher = Batcher(2, patience, lambda: None)
        banks = StyleBanks(batcher, kept)
        try:
            return await use(banks, batcher)
        finally:
            banks.close()
            batcher.close()

    return asyncio.run(run())


def measured(caplog: pytest.LogCaptureFixture) -> int:
    """How many banks were made, by the log."""
    return sum(record.message.startswith("measured the styles") for record in caplog.records)


def test_concurrent_first_requests_make_one_bank(caplog: pytest.LogCaptureFixture) -> None:
    model = a_model()

    async def use(banks: StyleBanks, _batcher: Batcher) -> list[StyleBank]:
        found = await asyncio.gather(*(banks.get(model) for _ in range(20)))
        return [*found, await banks.get(model)]

    with caplog.at_level(logging.INFO):
        found = with_banks(use)
    assert measured(caplog) == 1
    assert all(bank is found[0] for bank in found)
    expected = draw_bank(model.generator, find_verifier("mnist", CPU), style_banks.FEW)
    for one, other in zip(found[0].classes, expected.classes, strict=True):
        assert all(map(np.array_equal, one, other))


def test_only_the_banks_that_were_used_last_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    models = [a_model(number) for number in range(3)]

    async def use(banks: StyleBanks, _batcher: Batcher) -> None:
        for number in (0, 1, 0, 2, 0, 1):
            await banks.get(models[number])

    with caplog.at_level(logging.INFO):
        with_banks(use, kept=2)
    assert measured(caplog) == 4  # 0, 1 and 2, and 1 once more


def test_a_crowd_of_generators_is_refused() -> None:
    models = [a_model(number) for number in range(MOST_MAKING + 2)]

    async def use(banks: StyleBanks, _batcher: Batcher) -> list[StyleBank | BaseException]:
        return await asyncio.gather(*(banks.get(model) for model in models), return_exceptions=True)

    answers = with_banks(use)
    assert [isinstance(each, StyleBankNotReady) for each in answers] == [False] * MOST_MAKING + [True] * 2


def test_an_error_reaches_all_that_wait_and_the_next_request_tries_again() -> None:
    model = a_model()
    broken = model._replace(generator=prepare(Generator(10), CPU))
    broken.generator.embedding = broken.generator.embedding[:5]  # of five classes

    async def use(banks: StyleBanks, _batcher: Batcher) -> StyleBank:
        errors = await asyncio.gather(*(banks.get(broken) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(error, IndexError) for error in errors)
        return await banks.get(model)

    assert len(with_banks(use).classes) == 10


def test_a_bank_waits_while_the_service_is_too_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    model, refusals = a_model(), iter(range(3))
    draw = Batcher.draw

    async def draw_later(batcher: Batcher, *arguments: Any) -> Any:
        if next(refusals, None) is not None:
            raise Busy("the service is overloaded")
        return await draw(batcher, *arguments)

    monkeypatch.setattr(Batcher, "draw", draw_later)
    monkeypatch.setattr("app.inference.style_banks.PAUSE_SECONDS", 0.01)
    assert len(with_banks(lambda banks, _batcher: banks.get(model)).classes) == 10


def test_the_end_of_the_service_ends_the_wait_for_a_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.inference.style_banks.parts", partial(parts, 100_000))  # never ends
    model = a_model()

    async def use(banks: StyleBanks, batcher: Batcher) -> int:
        waiting = [asyncio.create_task(banks.get(model)) for _ in range(3)]
        while not batcher.pending:
            await asyncio.sleep(0.001)
        banks.close()
        answers = await asyncio.gather(*waiting, banks.get(model), banks.get(a_model(1)), return_exceptions=True)
        return sum(isinstance(answer, StyleBankNotReady) for answer in answers)

    assert with_banks(use) == 5


def drawn(client: httpx2.Client) -> float:
    """How many digits the process has drawn. Without a stock only the bank's digits are drawn."""
    (line,) = [line for line in client.get("/metrics").text.splitlines() if line.startswith("acgan_digits_drawn_total")]
    return float(line.split()[1])


def test_a_server_that_ends_answers_the_requests_that_wait_for_a_bank(
    settings: AppSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.inference.style_banks.parts", partial(parts, 100_000))  # never ends
    alone = settings.model_copy(update={"pretrained": True, "stock": 0})
    with ThreadPoolExecutor(1) as threads:
        with serving(alone) as address, httpx2.Client(base_url=address, timeout=60) as client:
            before = drawn(client)
            answer = threads.submit(httpx2.get, f"{address}/numbers/42", timeout=60)
            until("the bank is made", lambda: drawn(client) > before)
        assert answer.result().status_code == 503
        assert answer.result().json()["type"] == "/problems/style-bank-not-ready"
