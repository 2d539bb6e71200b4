"""The training iteration for a GPU: the same numbers as `iteration`, up to rounding, from fewer and larger kernels.

Differences from the plain iteration:
    weights are converted once per step, not per use (working_weights.py);
    strided layers pad their kernels instead of padding or cutting maps: a row and a column of zeros shift a kernel as
    Keras' `same` does;
    bias, leaky ReLU and dropout are one kernel (kernels.py); both heads are one product, and losses have their
    gradients in closed form (losses.py);
    3 x 3 maps are upsampled by one product, without the convolution's products with padding; layers of one channel,
    for which cuDNN has no fast convolution, are products too;
    the embedding is a product with one-hot labels, whose gradient needs no atomic additions;
    the penalty's neighbours are judged together with the real images and the fakes.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.config import IMAGE_SIZE, NUM_CLASSES, TrainingConfig
from models.networks.layers import BatchNorm
from models.networks.precision import SettledPrecision
from models.training.fused import folding
from models.training.fused.kernels import select_kernels
from models.training.fused.working_weights import WorkingWeights
from models.training.iteration import Iteration
from models.training.losses import NEARBY

MAPS = ((32, 14), (64, 14), (128, 7), (256, 7))  # channels and size of the discriminator's maps


class FusedIteration(Iteration):
    """Trains the same networks as `Iteration`, with the same random numbers."""

    def __init__(
        self,
        config: TrainingConfig,
        precision: SettledPrecision,
        device: torch.device,
        classes: int = NUM_CLASSES,
    ) -> None:
        super().__init__(config, precision, device, classes)
        full = self.generator.dense.weight.dtype
        self.dtype = torch.bfloat16 if precision == "bf16" else full
        self.generator_weights = WorkingWeights(
            self.generator,
            self.dtype,
            full_precision=("embedding", "norm_7", "norm_14"),
            padded=("upsample_14", "upsample_28"),
        )
        self.discriminator_weights = WorkingWeights(
            self.discriminator, self.dtype, padded=("conv_1", "conv_3"), joined=("generation", "auxiliary")
        )
        norms = self.generator.norm_7, self.generator.norm_14
        self.batches_tracked = [norm.get_buffer("num_batches_tracked") for norm in norms]
        self.kernels = select_kernels(device, self.dtype)
        self.one_hot = torch.eye(classes, dtype=full, device=device)

    def discriminator_step(self, images: Tensor, labels: Tensor, noise: Tensor, fake_labels: Tensor) -> Tensor:
        self.generator_weights.refresh()
        real, fake = self.one_hot[labels], self.one_hot[fake_labels]
        judged = [images, images + NEARBY * torch.randn_like(images)] if self.recipe.flatness else [images]
        with torch.no_grad():
            judged.insert(1, self.generate(noise, fake, training=self.recipe.batch_statistics))
            batch = self.join(judged)
        self.discriminator.train()
        self.discriminator_weights.refresh()
        logits = self.judge(batch, self.discriminator_weights.tensors)
        score = self.kernels.score_discriminator(logits.detach(), real, fake, self.recipe.flatness, self.recipe.adc)
        self.discriminator_weights.differentiate(logits, score.gradient)
        self.discriminator_adam.step()
        return score.row

    def generator_step(self, noise: Tensor, labels: Tensor) -> Tensor:
        """As in `Iteration`. The generator must not have changed since the previous discriminator step."""
        one_hot = self.one_hot[labels]
        self.discriminator.train()
        self.discriminator_weights.refresh()
        images = self.generate(noise, one_hot, training=True)
        logits = self.judge(images, self.discriminator_weights.detached())
        score = self.kernels.score_generator(logits.detach(), one_hot, self.recipe.target, self.recipe.adc)
        self.generator_weights.differentiate(logits, score.gradient)
        self.generator_adam.step()
        return score.row

    def join(self, images: list[Tensor]) -> Tensor:
        """Concatenate equally large batches of images (B, 1, 28, 28), in the precision of the step."""
        size = len(images[0])
        batch = images[0].new_empty(len(images) * size, 1, IMAGE_SIZE, IMAGE_SIZE, dtype=self.dtype)
        for part, source in zip(batch.split(size), images, strict=True):
            part.copy_(source)
        return batch

    # ----------------------------------------------------------------------------
    # The networks, layer by layer as in models/networks/acgan.py.

    def generate(self, noise: Tensor, one_hot: Tensor, training: bool) -> Tensor:
        """Draw images (N, 1, 28, 28) from noise (N, L) and one-hot labels (N, K)."""
        w, network = self.generator_weights, self.generator
        h = noise * (one_hot @ w["embedding.weight"])  # (N, L)
        h = F.relu(F.linear(h.to(self.dtype), w["dense.weight"], w["dense.bias"]))
        h = self.rectify(self.upsample_to_seven(h.view(-1, 384), w["upsample_7.weight"]), "upsample_7")
        h = self.normalize(h, network.norm_7, training)  # (N, 192, 7, 7)
        # The padded kernel cuts 1 at the top and on the left, 2 at the bottom and on the right.
        h = self.rectify(F.conv_transpose2d(h, w["upsample_14.weight"], stride=2, padding=2), "upsample_14")
        h = self.normalize(h, network.norm_14, training)  # (N, 96, 14, 14)
        if training:
            torch._foreach_add_(self.batches_tracked, 1)
        return torch.tanh(self.upsample_to_one_channel(h, "upsample_28"))

    def upsample_to_seven(self, h: Tensor, weight: Tensor) -> Tensor:
        """Turn maps (N*9, 384) of 3 x 3 into (N, 192, 7, 7), by one product for all positions and taps.

        A convolution would multiply 49 positions by 25 taps, mostly on its padding; this multiplies 9 positions.
        """
        columns = h @ weight.permute(0, 2, 3, 1).flatten(1)  # (N*9, 25*192)
        return self.kernels.fold(columns.view(-1, 9, 25, weight.shape[1]), size=3, taps=5)

    def rectify(self, h: Tensor, name: str) -> Tensor:
        return self.kernels.activate(h, self.generator_weights[f"{name}.bias"], None, slope=0.0, p=0.0)

    def upsample_to_one_channel(self, h: Tensor, name: str) -> Tensor:
        """Double a map's size, for one output channel: one product for each position; `fold` adds up the results."""
        w, (n, channels, height, width) = self.generator_weights, h.shape
        columns = h.permute(0, 2, 3, 1).reshape(-1, channels) @ w[f"{name}.weight"].flatten(1)  # (N*H*W, 36)
        columns = columns.view(n, height * width, -1).transpose(1, 2)
        return folding.fold(columns, 2 * height, 6, padding=2, stride=2) + w[f"{name}.bias"]

    def normalize(self, h: Tensor, norm: BatchNorm, training: bool) -> Tensor:
        return F.batch_norm(
            h, norm.running_mean, norm.running_var, norm.weight, norm.bias, training, norm.momentum or 0.0, norm.eps
        )

    def judge(self, images: Tensor, w: Mapping[str, Tensor]) -> Tensor:
        """Return logits (N, 1 + C) of images (N, 1, 28, 28), D's and the classes', in full precision."""
        bits = self.draw_bits(len(images))

        def activate(h: Tensor, layer: int) -> Tensor:
            return self.kernels.activate(h, w[f"conv_{layer}.bias"], bits[layer - 1], 0.2, self.discriminator.dropout.p)

        h = activate(self.convolve_one_channel(images, w["conv_1.weight"]), 1)
        h = activate(F.conv2d(h, w["conv_2.weight"], padding=1), 2)
        h = activate(F.conv2d(h, w["conv_3.weight"], stride=2, padding=1), 3)
        h = activate(F.conv2d(h, w["conv_4.weight"], padding=1), 4)
        h = h.permute(0, 2, 3, 1).flatten(1)  # (N, 12544)
        weight = w["joined.weight"]
        return F.linear(h.to(weight.dtype), weight, w["joined.bias"])

    def convolve_one_channel(self, images: Tensor, weight: Tensor) -> Tensor:
        """Halve images (N, 1, 28, 28) to (N, 32, 14, 14), by one product for all positions."""
        columns = folding.unfold(images, 4, padding=1, stride=2).transpose(1, 2)  # (N, 196, 16)
        h = columns.reshape(-1, 16) @ weight.flatten(1).t()  # (N*196, 32)
        return h.view(-1, 14, 14, len(weight)).permute(0, 3, 1, 2)

    def draw_bits(self, n: int) -> Sequence[Tensor | None]:
        """Draw 16 random bits for each element of the four layers' maps of n images, if there is dropout."""
        if self.discriminator.dropout.p == 0:
            return [None] * len(MAPS)
        sizes = [n * channels * size**2 for channels, size in MAPS]
        words = torch.empty(math.ceil(sum(sizes) / 4), dtype=torch.int64, device=self.device).random_(-(2**63), None)
        parts: Sequence[Tensor] = words.view(torch.int16)[: sum(sizes)].split(sizes)
        return parts
