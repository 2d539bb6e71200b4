"""The seed's two networks, weight for weight. Keras' layouts are kept where they shape the computation.

Shapes: N batch, L latent size, 10 classes, images (N, 1, 28, 28) in [-1, 1].
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import NUM_CLASSES

# ----------------------------------------------------------------------------
# Generator (seed: build_generator).


class Generator(nn.Module):
    """(z, y) -> image: the noise is multiplied with the embedding of its class, then upsampled 3 -> 7 -> 14 -> 28."""

    def __init__(self, latent_size: int = 100) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.embedding = nn.Embedding(NUM_CLASSES, latent_size)
        self.dense = nn.Linear(latent_size, 3 * 3 * 384)
        self.upsample_7 = nn.ConvTranspose2d(384, 192, 5)
        self.norm_7 = nn.BatchNorm2d(192, eps=1e-3, momentum=0.01)
        self.upsample_14 = nn.ConvTranspose2d(192, 96, 5, stride=2, padding=1)
        self.norm_14 = nn.BatchNorm2d(96, eps=1e-3, momentum=0.01)
        self.upsample_28 = nn.ConvTranspose2d(96, 1, 5, stride=2, padding=1)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw one image for each latent.

        Args:
            noise: (N, L) in [-1, 1].
            labels: (N,) integers 0-9.

        Returns:
            (N, 1, 28, 28) in [-1, 1].
        """
        h = noise * self.embedding(labels)  # (N, L)
        h = F.relu(self.dense(h))  # (N, 3*3*384)
        h = h.view(-1, 3, 3, 384).permute(0, 3, 1, 2)  # (N, 384, 3, 3), channels last as in Keras
        h = self.norm_7(F.relu(self.upsample_7(h)))  # (N, 192, 7, 7)
        h = self.norm_14(F.relu(crop(self.upsample_14(h))))  # (N, 96, 14, 14)
        return torch.tanh(crop(self.upsample_28(h)))  # (N, 1, 28, 28)


def crop(x: Tensor) -> Tensor:
    """Finish a Keras `same` transposed convolution of kernel 5, stride 2: cut 1 left and above, 2 right and below."""
    return x[:, :, :-1, :-1]


# ----------------------------------------------------------------------------
# Discriminator (seed: build_discriminator).


class Discriminator(nn.Module):
    """image -> (real or fake, class): four convolutions, 28 -> 14 -> 14 -> 7 -> 7, and two linear heads, in logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(1, 32, 3, stride=2)
        self.conv_2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv_3 = nn.Conv2d(64, 128, 3, stride=2)
        self.conv_4 = nn.Conv2d(128, 256, 3, padding=1)
        self.dropout = Dropout(0.3)
        self.generation = nn.Linear(7 * 7 * 256, 1)
        self.auxiliary = nn.Linear(7 * 7 * 256, NUM_CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Judge images.

        Args:
            images: (N, 1, 28, 28) in [-1, 1].

        Returns:
            real_logits (N,), positive for "real", and class_logits (N, 10).
        """
        h = self.activate(self.conv_1(pad(images)))  # (N, 32, 14, 14)
        h = self.activate(self.conv_2(h))  # (N, 64, 14, 14)
        h = self.activate(self.conv_3(pad(h)))  # (N, 128, 7, 7)
        h = self.activate(self.conv_4(h))  # (N, 256, 7, 7)
        h = h.permute(0, 2, 3, 1).flatten(1)  # (N, 12544); Keras' Flatten is channels last
        return self.generation(h).squeeze(1), self.auxiliary(h)

    def activate(self, x: Tensor) -> Tensor:
        h: Tensor = self.dropout(F.leaky_relu(x, 0.2))
        return h


def pad(x: Tensor) -> Tensor:
    """Prepare a Keras `same` convolution of stride 2 on an even size: it pads right and bottom only."""
    return F.pad(x, (0, 1, 0, 1))


class Dropout(nn.Dropout):
    """Dropout that draws its masks in bulk on the CPU, 16 bits an element.

    torch's `bernoulli_` is serial on many processors and then takes a fifth of an iteration. Here torch's generator
    yields one seed a call, so `torch.manual_seed` still governs everything, and SFC64 expands it fifty times faster.
    The probability is p to within 2**-17.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        bits = np.random.SFC64(int(torch.randint(2**63 - 1, ()))).random_raw(math.ceil(x.numel() / 4))
        draws = torch.from_numpy(bits.view(np.int16)[: x.numel()])  # uniform over -32768 ... 32767
        keep = (draws >= round(self.p * 65536) - 32768).to(x.dtype).div_(1 - self.p)
        return x * keep.as_strided(x.shape, torch.empty_like(x, device="meta").stride())


# ----------------------------------------------------------------------------
# Initial weights, as Keras draws them: Glorot et al. 2010, biases 0.


def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Draw fresh weights in place: a cut normal for embeddings and transposed convolutions, else uniform."""
    for module in network.modules():
        match module:
            case nn.Embedding() | nn.ConvTranspose2d():
                glorot_normal_(module.weight, generator)
            case nn.Linear() | nn.Conv2d():
                nn.init.xavier_uniform_(module.weight, generator=generator)
            case nn.BatchNorm2d():
                module.reset_parameters()
        if isinstance(bias := getattr(module, "bias", None), Tensor):
            nn.init.zeros_(bias)


def glorot_normal_(weight: Tensor, generator: torch.Generator) -> None:
    """Keras' `glorot_normal`: variance 2 / (fan_in + fan_out), cut at two deviations and widened to make up."""
    receptive_field = math.prod(weight.shape[2:])
    std = math.sqrt(2 / (receptive_field * (weight.shape[0] + weight.shape[1])))
    std /= 0.87962566103423978  # standard deviation of a unit normal cut at +-2
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)
