"""A straightforward generator in torch: its own layers, float32."""

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class EagerGenerator(nn.Module):
    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.embedding = nn.Embedding(10, latent_size)
        self.dense = nn.Linear(latent_size, 3 * 3 * 384)
        self.upsample_7 = nn.ConvTranspose2d(384, 192, 5)
        self.norm_7 = nn.BatchNorm2d(192, eps=1e-3)
        self.upsample_14 = nn.ConvTranspose2d(192, 96, 5, stride=2, padding=1)
        self.norm_14 = nn.BatchNorm2d(96, eps=1e-3)
        self.upsample_28 = nn.ConvTranspose2d(96, 1, 5, stride=2, padding=1)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        h = F.relu(self.dense(noise * self.embedding(labels)))
        h = h.view(-1, 3, 3, 384).permute(0, 3, 1, 2)
        h = self.norm_7(F.relu(self.upsample_7(h)))
        h = self.norm_14(F.relu(self.upsample_14(h)[:, :, :-1, :-1]))
        return torch.tanh(self.upsample_28(h)[:, :, :-1, :-1])


def load_eager(path: str, layout: str) -> EagerGenerator:
    state = load_file(path)
    generator = EagerGenerator(state["embedding.weight"].shape[1])
    generator.load_state_dict(state)
    if layout == "channels_last":
        generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return generator.eval()
