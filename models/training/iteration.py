"""One training iteration: a discriminator step on B real images and B fakes, then a generator step on new fakes."""

import torch
from torch import Tensor

from models.config import NUM_CLASSES, TrainingConfig
from models.data.dataset import to_unit_range
from models.data.distortion import distort
from models.networks.acgan import Discriminator, Generator, initialize
from models.networks.precision import SettledPrecision, autocast, to_channels_last
from models.training.ema import Average
from models.training.losses import NEARBY, ONE_SIDED, TWO_SIDED, real_log_odds, slope
from models.training.optimizers import make_adam, set_rate
from models.training.randomness import Purpose, derive_seed
from models.training.recipes import RECIPES


class Iteration:
    """Both networks, their optimizers, and one training iteration, computed by the networks' own layers.

    `tensors` names every tensor that an iteration changes. It changes them in place.
    """

    def __init__(
        self,
        config: TrainingConfig,
        precision: SettledPrecision,
        device: torch.device,
        classes: int = NUM_CLASSES,
    ) -> None:
        self.config = config
        self.precision = precision
        self.device = device
        self.classes = classes
        self.recipe = RECIPES[config.recipe]
        self.generator = Generator(config.latent_size, classes)
        self.objectives = TWO_SIDED if self.recipe.adc else ONE_SIDED
        self.discriminator = Discriminator(self.objectives.sides * classes, self.recipe.dropout)
        for network, purpose in (
            (self.generator, Purpose.GENERATOR_WEIGHTS),
            (self.discriminator, Purpose.DISCRIMINATOR_WEIGHTS),
        ):
            initialize(network, torch.Generator().manual_seed(derive_seed(config.seed, purpose)))
            to_channels_last(network.to(device))
        self.generator_adam = make_adam(self.generator, config, device)
        self.discriminator_adam = make_adam(self.discriminator, config, device)
        self.average = Average(self.generator)
        self.generator_losses = torch.zeros(3, device=device)  # sums over the epoch: loss, generation, auxiliary
        self.discriminator_losses = torch.zeros(3, device=device)

    def tensors(self) -> dict[str, Tensor]:
        named = {"generator_losses": self.generator_losses, "discriminator_losses": self.discriminator_losses}
        for name, network, adam in (
            ("generator", self.generator, self.generator_adam),
            ("discriminator", self.discriminator, self.discriminator_adam),
        ):
            named |= {f"{name}.{key}": tensor for key, tensor in network.state_dict().items()}
            for key, parameter in network.named_parameters():
                named |= {f"{name}_adam.{key}.{part}": value for part, value in adam.state[parameter].items()}
        return named | {f"average.{name}": total for name, total in self.average.sums.items()}

    def set_rate(self, lr: float) -> None:
        for adam in (self.generator_adam, self.discriminator_adam):
            set_rate(adam, lr)

    def autocast(self) -> torch.autocast:
        return autocast(self.precision, self.device)

    # ----------------------------------------------------------------------------
    # The iteration.

    def __call__(self, pixels: Tensor, classes: Tensor) -> None:
        """Train both networks on real digits, uint8 (B, 28, 28), and their classes, uint8 (B,)."""
        images, labels, batch = to_unit_range(pixels), classes.long(), len(classes)
        if self.recipe.distorted_share:
            images = distort(images, self.recipe.most_distortion, self.recipe.distorted_share)
        self.discriminator_losses += self.discriminator_step(images, labels, *self.draw_latents(batch))
        self.generator_losses += self.generator_step(*self.draw_latents(self.recipe.generator_batches * batch))
        self.average.update()

    def draw_latents(self, n: int) -> tuple[Tensor, Tensor]:
        """Draw new noise (n, L), uniform in [-1, 1), and labels (n,), uniform over the classes."""
        noise = torch.empty(n, self.config.latent_size, device=self.device).uniform_(-1, 1)
        return noise, torch.randint(self.classes, (n,), device=self.device)

    def discriminator_step(self, images: Tensor, labels: Tensor, noise: Tensor, fake_labels: Tensor) -> Tensor:
        """Train the discriminator on B real images and their classes, and on B fakes.

        Args:
            images: (B, 1, 28, 28) in [-1, 1].
            labels: of the images, (B,).
            noise: of the fakes, (B, L).
            fake_labels: (B,), the classes that the fakes are drawn for.

        Returns:
            (3,): loss, generation loss, auxiliary loss.
        """
        # Fakes, without gradient. The original's `generator.predict` uses moving statistics.
        self.generator.train(self.recipe.batch_statistics)
        with torch.no_grad(), self.autocast():
            fakes = self.generator(noise, fake_labels)

        # Update.
        self.discriminator.train()
        self.discriminator_adam.zero_grad()
        with self.autocast():
            real_logits, class_logits = self.discriminator(torch.cat((images, fakes.to(images.dtype))))
        classes = torch.cat((labels, fake_labels))
        objective = self.objectives.discriminator(real_logits, class_logits, classes)
        loss = objective.loss
        if self.recipe.flatness:
            slopes = self.slopes(images, labels, real_logits, class_logits)
            loss = loss + self.recipe.flatness / 2 * slopes
        loss.backward()
        self.discriminator_adam.step()
        return objective.row()

    def slopes(self, images: Tensor, labels: Tensor, real_logits: Tensor, class_logits: Tensor) -> Tensor:
        """Return both heads' mean squared gradients at B real images, added; their logits are the first B of 2B."""
        with self.autocast():
            neighbours = images + NEARBY * torch.randn_like(images)
            real_nearby, class_nearby = self.discriminator(neighbours)
        here = real_log_odds(class_logits[: len(labels)], labels)
        steep = slope(here, real_log_odds(class_nearby, labels))
        return steep + slope(real_logits[: len(labels)], real_nearby)

    def generator_step(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Train the generator so that its images pass for real ones of their class. The discriminator is not trained.

        It takes noise (N, L) and labels (N,), and returns (3,): loss, generation loss, auxiliary loss.
        """
        self.generator.train()
        self.discriminator.train().requires_grad_(False)
        self.generator_adam.zero_grad()
        with self.autocast():
            real_logits, class_logits = self.discriminator(self.generator(noise, labels))
        objective = self.objectives.generator(real_logits, class_logits, labels, self.recipe.target)
        objective.loss.backward()
        self.generator_adam.step()
        self.discriminator.requires_grad_(True)
        return objective.row()
