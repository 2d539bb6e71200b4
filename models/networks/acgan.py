"""The two networks of the original Keras script, weight for weight. Keras' layouts are kept if they affect the result.

Shapes: N batch, L latent size, K classes (10 in the original), images (N, 1, 28, 28) in [-1, 1].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import NUM_CLASSES
from models.networks.layers import BatchNorm, Convolution, Dropout, UpsampleSame, UpsampleValid

# ----------------------------------------------------------------------------
# Generator (original: build_generator).


class Generator(nn.Module):
    """(z, y) -> image: the noise is multiplied by the embedding of its class, then upsampled 3 -> 7 -> 14 -> 28."""

    def __init__(self, latent_size: int = 100, classes: int = NUM_CLASSES) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.classes = classes
        self.embedding = nn.Embedding(classes, latent_size)
        self.dense = nn.Linear(latent_size, 3 * 3 * 384)
        self.upsample_7 = UpsampleValid(384, 192)
        self.norm_7 = BatchNorm(192, eps=1e-3, momentum=0.01)
        self.upsample_14 = UpsampleSame(192, 96)
        self.norm_14 = BatchNorm(96, eps=1e-3, momentum=0.01)
        self.upsample_28 = UpsampleSame(96, 1)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw one image for each latent.

        Args:
            noise: (N, L) in [-1, 1].
            labels: (N,) integers from 0 to K - 1.

        Returns:
            (N, 1, 28, 28) in [-1, 1].
        """
        h = noise * self.embedding(labels)  # (N, L)
        h = F.relu(self.dense(h))  # (N, 3*3*384)
        h = h.view(-1, 3, 3, 384).permute(0, 3, 1, 2)  # (N, 384, 3, 3), channels last as in Keras
        h = self.norm_7(F.relu(self.upsample_7(h)))  # (N, 192, 7, 7)
        h = self.norm_14(F.relu(self.upsample_14(h)))  # (N, 96, 14, 14)
        return torch.tanh(self.upsample_28(h))  # (N, 1, 28, 28)


# ----------------------------------------------------------------------------
# Discriminator (original: build_discriminator).


class Discriminator(nn.Module):
    """image -> (real or fake, class): four convolutions, 28 -> 14 -> 14 -> 7 -> 7, and two linear heads, in logits."""

    def __init__(self, classes: int = NUM_CLASSES, dropout: float = 0.3) -> None:
        """`classes` is the number C of outputs of the auxiliary head: K, or 2 K with two outputs for each class."""
        super().__init__()
        self.conv_1 = nn.Conv2d(1, 32, 3, stride=2)
        self.conv_2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv_3 = nn.Conv2d(64, 128, 3, stride=2)
        self.conv_4 = Convolution(128, 256)
        self.dropout = Dropout(dropout)
        self.generation = nn.Linear(7 * 7 * 256, 1)
        self.auxiliary = nn.Linear(7 * 7 * 256, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Classify images as real or fake, and by class.

        Args:
            images: (N, 1, 28, 28) in [-1, 1].

        Returns:
            real_logits (N,), positive for "real", and class_logits (N, C).
        """
        h = self.activate(self.conv_1(pad(images)))  # (N, 32, 14, 14)
        h = self.activate(self.conv_2(h))  # (N, 64, 14, 14)
        h = self.activate(self.conv_3(pad(h)))  # (N, 128, 7, 7)
        h = self.activate(self.conv_4(h))  # (N, 256, 7, 7)
        h = h.permute(0, 2, 3, 1).flatten(1)  # (N, 12544); Keras' Flatten is channels last
        with torch.autocast(h.device.type, enabled=False):  # bf16 would round away the difference of neighbours
            h = h.to(self.generation.weight.dtype)
            return self.generation(h).squeeze(1), self.auxiliary(h)

    def activate(self, x: Tensor) -> Tensor:
        h: Tensor = self.dropout(F.leaky_relu(x, 0.2))
        return h


def pad(x: Tensor) -> Tensor:
    """Pad for a Keras `same` convolution of stride 2 on an even size: on the right and at the bottom only."""
    return F.pad(x, (0, 1, 0, 1))


# ----------------------------------------------------------------------------
# Initial weights as in Keras: Glorot et al. 2010, biases 0.


def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Draw initial weights in place: truncated normal for embeddings and transposed convolutions, else uniform."""
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
    """Keras' `glorot_normal`: variance 2 / (fan_in + fan_out), truncated at two deviations, widened to compensate."""
    receptive_field = math.prod(weight.shape[2:])
    std = math.sqrt(2 / (receptive_field * (weight.shape[0] + weight.shape[1])))
    std /= 0.87962566103423978  # standard deviation of a unit normal truncated at +-2
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)
