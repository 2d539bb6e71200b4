"""Exports the generator as ONNX, for other runtimes. It draws the same digits as torch."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.interop.formats import check_libraries
from models.networks.acgan import Generator
from models.sampling.sampler import to_pixels
from models.version import code_version

OPSET = 18


class Plain(nn.Module):
    """A generator in inference mode, in operators that every runtime has. None depends on the length of the batch."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, L), (N,) to images (N, 1, 28, 28) in [-1, 1] and the same as uint8 pixels (N, 28, 28)."""
        net = self.generator
        h = F.relu(net.dense(noise * net.embedding(labels)))
        h = h.view(-1, 3, 3, 384).permute(0, 3, 1, 2)
        h = F.conv_transpose2d(h, net.upsample_7.weight, net.upsample_7.bias)
        h = normalise(F.relu(h), net.norm_7)
        h = F.conv_transpose2d(h, net.upsample_14.weight, net.upsample_14.bias, stride=2, padding=1)
        h = normalise(F.relu(h[:, :, :-1, :-1]), net.norm_14)
        h = F.conv_transpose2d(h, net.upsample_28.weight, net.upsample_28.bias, stride=2, padding=1)
        images = torch.tanh(h[:, :, :-1, :-1])
        return images, to_pixels(images)


def normalise(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Suppress the messages of torch's exporter about missing libraries that it does not need."""
    talkative = logging.getLogger("torch.onnx")
    level = talkative.level
    talkative.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        talkative.setLevel(level)


def to_onnx(generator: Generator, name: str) -> bytes:
    """Return the generator as ONNX bytes.

    Inputs: `noise`, float32 (N, L), uniform in [-1, 1); `labels`, int64 (N,), from 0; for any N. Outputs: `images`,
    float32 (N, 1, 28, 28) in [-1, 1], and `pixels`, uint8 (N, 28, 28), as they are served. `name` goes into the
    metadata. Raises ExtraMissing.
    """
    check_libraries("onnx")
    example = (torch.zeros(2, generator.latent_size), torch.zeros(2, dtype=torch.int64))
    batch = torch.export.Dim("N", min=1)
    with quietly():
        program = torch.onnx.export(
            Plain(generator.float().eval()).eval(),
            example,
            input_names=["noise", "labels"],
            output_names=["images", "pixels"],
            dynamic_shapes=({0: batch}, {0: batch}),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    model.metadata_props.add(key="checkpoint", value=name)
    model.metadata_props.add(key="acgan", value=code_version())
    written: bytes = model.SerializeToString()
    return written
