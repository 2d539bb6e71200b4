"""The training recipes: `seed`, exactly the original one, and `sharp`, whose digits vary as real ones do.

An Auxiliary Classifier GAN draws digits that are easy to classify: labels are right almost at once, and each class is a
few digits repeated. `docs/quality.md` has the effect of each change.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from models.config import NUM_CLASSES, RecipeName
from models.training import losses
from models.training.losses import Objective

# (real_logits (2B,), class_logits (2B, C), labels (2B,)), the real half first.
DiscriminatorObjective = Callable[[Tensor, Tensor, Tensor], Objective]
# (real_logits (N,), class_logits (N, C), labels (N,), target of "real").
GeneratorObjective = Callable[[Tensor, Tensor, Tensor, float], Objective]
# (real_logits (N,), class_logits (N, C), labels (N,), is_real (N,)).
TestObjective = Callable[[Tensor, Tensor, Tensor, Tensor], Objective]


class Recipe(NamedTuple):
    """Choices of a training that are not hyperparameters of the original script."""

    discriminator_objective: DiscriminatorObjective
    generator_objective: GeneratorObjective
    test_objective: TestObjective
    target: float  # for "real", in the generator's step
    classes: int  # of the auxiliary head
    dropout: float  # of the discriminator
    generator_batches: int  # fakes of a generator step, in batches
    batch_statistics: bool  # whether the discriminator's fakes use batch statistics, as in the generator's step
    shuffled: bool  # whether the order of real images changes every epoch
    flatness: float  # weight of the penalty on the discriminator's slope at real images
    lr_scale: float  # of adam_lr
    lr_falls: bool  # whether the rate falls to about 0 over the second half of a run

    @property
    def adc(self) -> bool:
        """Whether the auxiliary head has two classes for each digit (ADC-GAN)."""
        return self.classes == 2 * NUM_CLASSES

    def lr_factor(self, epoch: int, epochs: int) -> float:
        """Return the factor of adam_lr in an epoch, 1 to `epochs`."""
        left = 1 - (epoch - 1) / epochs
        return self.lr_scale * min(1.0, 2 * left) if self.lr_falls else self.lr_scale


SEED = Recipe(
    discriminator_objective=losses.discriminator_objective,
    generator_objective=losses.generator_objective,
    test_objective=losses.discriminator_test_objective,
    target=losses.SOFT_ONE,
    classes=NUM_CLASSES,
    dropout=0.3,
    generator_batches=2,
    batch_statistics=False,
    shuffled=False,
    flatness=0.0,
    lr_scale=1.0,
    lr_falls=False,
)

SHARP = Recipe(
    discriminator_objective=losses.two_sided_discriminator_objective,
    generator_objective=losses.two_sided_generator_objective,
    test_objective=losses.two_sided_test_objective,
    target=1.0,
    classes=2 * NUM_CLASSES,
    dropout=0.0,
    generator_batches=1,
    batch_statistics=True,
    shuffled=True,
    flatness=0.01,
    lr_scale=2.0,
    lr_falls=True,
)

RECIPES: dict[RecipeName, Recipe] = {"seed": SEED, "sharp": SHARP}
