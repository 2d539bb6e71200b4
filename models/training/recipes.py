"""The training recipes: `seed`, exactly the original one; `sharp`, whose digits vary as real ones do; and `thorough`.

The original Auxiliary Classifier GAN draws digits that are easy to classify: their labels are soon right, but the
digits of a class look alike. `docs/quality.md` gives the effect of each change. This module imports nothing, because
the config reads the names.
"""

from typing import NamedTuple


class Recipe(NamedTuple):
    """Choices of a training that are not hyperparameters of the original script."""

    description: str  # continues "`name` ..."
    adc: bool  # whether the auxiliary head has two classes for each digit (ADC-GAN), and the objectives use them
    target: float  # for "real", in the generator's step
    dropout: float  # of the discriminator
    generator_batches: int  # fakes of a generator step, in batches
    batch_statistics: bool  # whether the discriminator's fakes use batch statistics, as in the generator's step
    shuffled: bool  # whether the order of real images changes every epoch
    flatness: float  # weight of the gradient penalty of the discriminator
    lr_scale: float  # of adam_lr
    lr_falls: bool  # whether the rate falls to about 0 over the second half of a run
    batch_size: int = 100  # if the run gives none
    distorted_share: float = 0.0  # of the real images
    most_distortion: tuple[float, ...] = ()  # largest values of the six in models/data/distortion.py, 0 to 1

    def lr_factor(self, epoch: int, epochs: int) -> float:
        """Return the factor of adam_lr in an epoch, 1 to `epochs`."""
        left = 1 - (epoch - 1) / epochs
        return self.lr_scale * min(1.0, 2 * left) if self.lr_falls else self.lr_scale


SHARP = Recipe(
    description="draws digits that vary as real ones do",
    adc=True,
    target=1.0,
    dropout=0.0,
    generator_batches=1,
    batch_statistics=True,
    shuffled=True,
    flatness=0.01,
    lr_scale=2.0,
    lr_falls=True,
)
RECIPES = {
    "seed": Recipe(
        description="is the original Keras script's recipe",
        adc=False,
        target=0.95,
        dropout=0.3,
        generator_batches=2,
        batch_statistics=False,
        shuffled=False,
        flatness=0.0,
        lr_scale=1.0,
        lr_falls=False,
    ),
    "sharp": SHARP,
    "thorough": SHARP._replace(
        description="is `sharp` with smaller batches and slightly distorted real images, for the best digits",
        batch_size=50,
        distorted_share=0.5,
        most_distortion=(0.8, 0.8, 0.8, 0.8, 0.4, 0.4),
    ),
}
