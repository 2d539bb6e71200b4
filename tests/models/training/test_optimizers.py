"""The optimizer of a run loads no module that a run does not need."""

import subprocess
import sys

STEP = """
import sys, torch
from models.config import TrainingConfig
from models.training.optimizers import make_adam

network = torch.nn.Linear(2, 1)
adam = make_adam(network, TrainingConfig(adam_lr=0.1), torch.device("cpu"))
before = network.weight.clone()
adam.zero_grad()
network(torch.ones(1, 2)).sum().backward()
adam.step()
assert torch.allclose(network.weight, before - 0.1), (network.weight, before)  # Adam's first step: the rate
sys.exit("torch._dynamo" in sys.modules)
"""


def test_a_step_loads_no_compiler() -> None:
    """`torch._dynamo` takes a second and 150 MB in each training process, and only `torch.compile` needs it."""
    assert subprocess.run([sys.executable, "-c", STEP], check=False).returncode == 0
