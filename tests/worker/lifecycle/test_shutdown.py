"""Signals that arrive while the handler of another one runs, or before there is a handler."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.world import START_SECONDS, running_world

NESTED = """
import os, signal, sys, threading
from worker.lifecycle import shutdown

lock, ended = threading.Lock(), []

def handler(name):
    def handle(number, frame):
        with lock:
            ended.append(name)
            if len(ended) == 1:
                os.kill(os.getpid(), signal.{second})
                for _ in range(1000):  # the second signal arrives
                    pass
    return handle

signal.signal(signal.SIGTERM, handler("warm"))
signal.signal(signal.SIGQUIT, handler("cold"))
shutdown.handle_one_signal_at_a_time()
os.kill(os.getpid(), signal.{first})
print(ended)
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGINT)
print(ended)
"""
IN_TRAINING = """
import os, signal, sys
from worker.lifecycle import shutdown

shutdown.listen()
def interrupt(frame, event, argument):
    if frame.f_code.co_name == "notify_all":  # in the lock of a threading.Event
        sys.settrace(None)
        os.kill(os.getpid(), signal.SIGUSR2)

sys.settrace(interrupt)
os.kill(os.getpid(), signal.SIGUSR2)
sys.settrace(None)
try:
    shutdown.check()
except shutdown.Interrupted:
    print("interrupted")
"""


def output_of(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("first", ["SIGTERM", "SIGINT", "SIGHUP"])
@pytest.mark.parametrize("second", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_during_the_handler_of_another_does_not_wait_for_it(first: str, second: str) -> None:
    assert output_of(NESTED.format(first=first, second=second)) == "['warm']\n['warm', 'warm', 'cold']\n"


def test_a_training_process_that_is_signalled_twice_at_once_is_interrupted() -> None:
    assert output_of(IN_TRAINING) == "interrupted\n"


def test_a_worker_that_ends_while_its_training_process_starts_does_not_kill_it(tmp_path: Path) -> None:
    with running_world(tmp_path) as world:
        worker = world.start_worker()
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
        world.until("a training process starts", children.read_text, START_SECONDS)
        os.kill(worker.pid, signal.SIGTERM)
        world.until("the worker ends", lambda: worker.poll() is not None)
        log = world.log.read_text()
    assert worker.returncode == 0
    assert "exited with" not in log, log
