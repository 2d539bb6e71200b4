"""The training loop, as in the original Keras script. Independent of jobs: it yields results and calls callbacks.

Random numbers are a function of (seed, purpose, epoch, iteration), independent of earlier draws.
"""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from models.config import TrainingConfig
from models.data.dataset import Dataset, to_unit_range
from models.networks.acgan import Discriminator, Generator
from models.networks.cuda_graph import CudaGraphStep
from models.networks.precision import settle_precision
from models.networks.weights import to_host
from models.records import (
    EpochLosses,
    EpochResult,
    Loss,
    NonFiniteLoss,
    Progress,
    SplitLosses,
    check_hope,
    check_that_a_batch_is_filled,
)
from models.training.ema import SETTLING_BATCHES, averaged
from models.training.environment import OF_A_STATE_WITHOUT, ComputeEnvironment, difference, use_threads
from models.training.fused.iteration import FusedIteration
from models.training.iteration import Iteration
from models.training.randomness import Purpose, derive_seed
from models.training.recipes import RECIPES
from models.training.throughput import Throughput
from models.training.training_state import InvalidState, Position, State

OnProgress = Callable[[Progress], None]
Check = Callable[[], None]

EVALUATION_BATCH = {"cpu": 200, "cuda": 2000}  # images: a GPU is idle between small batches
ENOUGH_ITERATIONS = 100  # iterations of an epoch from which its mean losses are checked
EVALUATION_COST = 0.4  # cost of a test image in training images: the multiplications to draw and judge three fakes


class Trainer:
    """One run: two networks, their optimizers, and the training data on one device.

    Raises TooFewImages if the training data hold less than one batch.
    """

    def __init__(self, config: TrainingConfig, dataset: Dataset, device: torch.device) -> None:
        self.precision = settle_precision(config.precision, device)
        self.config = config.model_copy(update={"precision": self.precision})
        self.device = device
        self.dataset = dataset.to(device)
        self.batches = len(dataset.train_labels) // config.batch_size  # the remainder is dropped, as in the original
        check_that_a_batch_is_filled(dataset.name, len(dataset.train_labels), config.batch_size)

        self.recipe = RECIPES[config.recipe]
        kind = FusedIteration if device.type == "cuda" else Iteration
        self.compute = kind(self.config, self.precision, device, dataset.class_count)
        self.generator, self.discriminator = self.compute.generator, self.compute.discriminator
        self.iterate: Callable[[Tensor, Tensor], None] = self.compute
        if device.type == "cuda":
            self.iterate = CudaGraphStep(self.compute, self.tensors().values(), device)
        self.environment = ComputeEnvironment.current(device)  # in which the run began
        self.warnings: list[str] = []  # reasons why the result may differ from an uninterrupted run's
        self.check: Check = lambda: None
        self.order: tuple[int, Tensor] | None = None  # of an epoch's images
        self.means: tuple[Loss, Loss] | None = None  # of generator and discriminator, as `mean_losses` last read them
        self.begin_epoch(1)

    # ----------------------------------------------------------------------------
    # The run.

    def run(self, on_progress: OnProgress | None = None, check: Check | None = None) -> Iterator[EpochResult]:
        """Train from the current position to the last epoch. Yields the result of each epoch.

        Calls `on_progress` at most once per second and once per two iterations; also after the last iteration of an
        epoch, and after the caller has taken an epoch's result. Calls `check` after every iteration and every batch of
        an evaluation. An exception in one of these callbacks ends the run. `state` may be called in both callbacks,
        and between epochs. Raises TrainingFailed.
        """
        self.check = check or self.check
        evaluation = EVALUATION_COST * len(self.dataset.test_labels) / self.config.batch_size
        pace = Throughput(self.config.epochs, self.batches, self.config.batch_size, ending=evaluation)
        while self.epoch <= self.config.epochs:
            self.began = time.monotonic() - self.seconds
            train = self.train_epoch(pace, on_progress)
            test = self.evaluate(self.epoch, lambda: self._tell(pace, on_progress))
            result = EpochResult(
                epoch=self.epoch,
                seconds=time.monotonic() - self.began,
                losses=EpochLosses(
                    generator=SplitLosses(train=train[0], test=test[0]),
                    discriminator=SplitLosses(train=train[1], test=test[1]),
                ),
            )
            self.begin_epoch(self.epoch + 1)
            yield result
            pace.epoch_ends()
            if on_progress is not None:
                on_progress(pace.progress())

    def _tell(self, pace: Throughput, on_progress: OnProgress | None) -> None:
        self.check()
        if on_progress is not None and pace.due():
            on_progress(pace.progress())

    def begin_epoch(self, epoch: int) -> None:
        self.set_position(Position(epoch=epoch, iteration=0, seconds=0.0))
        self.began = time.monotonic()
        # Sums of the losses of the epoch that ended.
        self.ended_losses = self.compute.generator_losses.clone(), self.compute.discriminator_losses.clone()
        self.compute.generator_losses.zero_()
        self.compute.discriminator_losses.zero_()

    def return_to_end_of(self, result: EpochResult) -> None:
        """Return to the position before the test of the epoch whose result `run` has yielded last.

        A run that continues from there tests the epoch again and yields an equal result. Call it before `run` continues
        and only to end this run.
        """
        self.set_position(Position(epoch=result.epoch, iteration=self.batches, seconds=result.seconds))
        self.began = time.monotonic() - self.seconds
        self.compute.generator_losses.copy_(self.ended_losses[0])
        self.compute.discriminator_losses.copy_(self.ended_losses[1])

    def train_epoch(self, pace: Throughput, on_progress: OnProgress | None = None) -> tuple[Loss, Loss]:
        """Train the remaining iterations of the epoch. Returns the mean losses of generator and discriminator.

        Raises TrainingFailed.
        """
        pace.epoch_begins(self.epoch, self.iteration)
        while self.iteration < self.batches:
            self.step(self.epoch, self.iteration)
            self.iteration += 1
            self.check()
            if pace.iteration_done(self.iteration):
                self.mean_losses()  # raises NonFiniteLoss
                if on_progress is not None:
                    on_progress(pace.progress())
        generator, discriminator = self.mean_losses()
        if self.batches >= ENOUGH_ITERATIONS:
            check_hope(self.epoch, generator, discriminator)
        return generator, discriminator

    def mean_losses(self) -> tuple[Loss, Loss]:
        """Return the mean losses of generator and discriminator in this epoch so far. Raises NonFiniteLoss."""
        rows = torch.stack((self.compute.generator_losses, self.compute.discriminator_losses)) / self.iteration
        generator, discriminator = rows.tolist()
        self.means = Loss.of(generator), Loss.of(discriminator)
        return self.means

    # ----------------------------------------------------------------------------
    # State: a resumed run equals the uninterrupted one to the last bit, on the same build, device and thread count.

    def state(self) -> State:
        """Copy the complete state of the run to the CPU. Later training does not change the copy.

        Raises NonFiniteLoss if a value is not finite, because a run cannot resume from such a state.
        """
        seconds = self.seconds if self.iteration == 0 else time.monotonic() - self.began
        position = Position(epoch=self.epoch, iteration=self.iteration, seconds=seconds)
        tensors = to_host(self.tensors())
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise NonFiniteLoss("weights")
        return State(position, self.config, self.dataset.checksum, tensors, self.environment, tuple(self.warnings))

    def load_state(self, state: State) -> None:
        """Continue from a state, with the number of threads that the run began with.

        Adds a sentence to `warnings` for each other difference in the environment, and for another precision: all
        tensors of a state are float32. Raises InvalidState if the state belongs to another recipe or other data.
        """
        apart_from = {"epochs", "name", "precision"}
        if state.config.model_dump(exclude=apart_from) != self.config.model_dump(exclude=apart_from):
            raise InvalidState("this state belongs to a run with another recipe")
        if state.dataset_checksum != self.dataset.checksum:
            raise InvalidState("this state belongs to a run on other data")
        ours = self.tensors()
        if {name: tensor.shape for name, tensor in ours.items()} != {n: t.shape for n, t in state.tensors.items()}:
            raise InvalidState("this state belongs to other networks")
        with torch.no_grad():
            for name, tensor in ours.items():
                tensor.copy_(state.tensors[name])
        self.set_position(state.position)
        self._restore_environment(state)

    def state_after(self, epoch: int, generator: Generator, discriminator: Discriminator, average: Generator) -> State:
        """Return a state at the end of an epoch of which only the networks are known. The trainer must be new.

        `average` has the average weights. Adam's moments are zero, as at the start of a run; a warning says so.
        """
        networks = {"generator": generator, "discriminator": discriminator}
        known = {
            f"{name}.{key}": tensor
            for name, network in networks.items()
            for key, tensor in network.state_dict().items()
        }
        sums = self.compute.average.sums_of(average.state_dict(), updates=epoch * self.batches)
        known |= {f"average.{key}": tensor for key, tensor in sums.items()}
        return State(
            Position(epoch=epoch + 1, iteration=0, seconds=0.0),
            self.config,
            self.dataset.checksum,
            to_host(self.tensors()) | known,
            self.environment,
            (f"the run was lengthened after its last epoch, {epoch}: Adam's moments began at zero again",),
        )

    def _restore_environment(self, state: State) -> None:
        self.warnings, new = list(state.warnings), list[str]()
        if warning := self._difference_in_rate(state):
            new.append(warning)
        if self.precision != state.config.precision:
            new.append(difference("precision", self.precision, state.config.precision))
        if state.environment is None:
            new.append(OF_A_STATE_WITHOUT)
        else:
            if self.device.type == "cpu" and state.environment.device == "cpu":
                use_threads(state.environment.threads)
            new += state.environment.differences(ComputeEnvironment.current(self.device))
            self.environment = state.environment
        self.warnings += [warning for warning in new if warning not in self.warnings]

    def _difference_in_rate(self, state: State) -> str | None:
        """Return a sentence if epochs of the state were trained with other learning rates than this run gives them."""
        begun = state.position.epoch if state.position.iteration else state.position.epoch - 1
        before, now = state.config.epochs, self.config.epochs
        other = [n for n in range(1, begun + 1) if self.recipe.lr_factor(n, before) != self.recipe.lr_factor(n, now)]
        if not other:
            return None
        epochs = f"epoch {other[0]}" if len(other) == 1 else f"epochs {other[0]} to {other[-1]}"
        return f"{epochs}: trained with the learning rates of a run of {before} epochs, not of {now}"

    def set_position(self, position: Position) -> None:
        """Set the position in the run and the learning rate of its epoch."""
        self.epoch, self.iteration, self.seconds = position.epoch, position.iteration, position.seconds
        self.compute.set_rate(self.learning_rate(self.epoch))

    def learning_rate(self, epoch: int) -> float:
        """Return Adam's learning rate in an epoch."""
        return self.config.adam_lr * self.recipe.lr_factor(epoch, self.config.epochs)

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that training changes, by name. Training changes them in place."""
        return self.compute.tensors()

    # ----------------------------------------------------------------------------
    # One iteration.

    def step(self, epoch: int, iteration: int) -> None:
        """Train both networks on the iteration's batch and add the losses to the running sums."""
        torch.manual_seed(derive_seed(self.config.seed, Purpose.TRAINING, epoch, iteration))
        here = self.places(epoch, iteration)
        self.iterate(self.dataset.train_images[here], self.dataset.train_labels[here])

    def places(self, epoch: int, iteration: int) -> slice | Tensor:
        """Return a batch's training images, as a slice of the file's order or indices of the epoch's random order."""
        here = slice(iteration * self.config.batch_size, (iteration + 1) * self.config.batch_size)
        if not self.recipe.shuffled:
            return here
        if self.order is None or self.order[0] != epoch:
            draws = torch.Generator().manual_seed(derive_seed(self.config.seed, Purpose.ORDER, epoch))
            order = torch.randperm(len(self.dataset.train_labels), generator=draws).to(self.device)
            self.order = epoch, order
        return self.order[1][here]

    def averaged_generator(self) -> Generator:
        """Return a generator with the average weights of the last iterations, in inference mode. This does not affect
        the training."""
        updates = (self.epoch - 1) * self.batches + self.iteration
        torch.manual_seed(derive_seed(self.config.seed, Purpose.AVERAGING, self.epoch, self.iteration))
        with self.compute.autocast():
            latents = (self.compute.draw_latents(2 * self.config.batch_size) for _ in range(SETTLING_BATCHES))
            return averaged(self.generator, self.compute.average, updates, latents)

    # ----------------------------------------------------------------------------
    # The end of an epoch (original: 'Testing for epoch'): n test images and n fakes for the discriminator, 2n fakes for
    # the generator.

    @torch.inference_mode()
    def evaluate(self, epoch: int, each: Check = lambda: None) -> tuple[Loss, Loss]:
        """Compute the test losses of generator and discriminator in inference mode. Calls `each` after every batch."""
        torch.manual_seed(derive_seed(self.config.seed, Purpose.EVALUATION, epoch))
        self.generator.eval()
        self.discriminator.eval()
        discriminator = self.evaluate_discriminator(self.dataset.test_images, self.dataset.test_labels, each)
        return self.evaluate_generator(2 * len(self.dataset.test_labels), each), discriminator

    def evaluate_discriminator(self, images: Tensor, labels: Tensor, each: Check) -> Loss:
        """Score n real images, target 1, and n fakes, target 0; the class counts for both."""
        sums, batch = torch.zeros(3, device=self.device), EVALUATION_BATCH[self.device.type]
        for done in range(0, len(labels), batch):
            real_images = to_unit_range(images[done : done + batch])
            real_labels = labels[done : done + batch].long()
            noise, fake_labels = self.compute.draw_latents(len(real_labels))
            with self.compute.autocast():
                fakes = self.generator(noise, fake_labels).float()
                real_logits, class_logits = self.discriminator(torch.cat((real_images, fakes)))
            classes = torch.cat((real_labels, fake_labels))
            is_real = torch.arange(len(classes), device=self.device) < len(real_labels)
            sums += self.compute.objectives.test(real_logits, class_logits, classes, is_real).row() * len(classes)
            each()
        return Loss.of((sums / (2 * len(labels))).tolist())

    def evaluate_generator(self, n: int, each: Check) -> Loss:
        """Score n fakes against target 1 and the classes they were drawn for."""
        sums, batch = torch.zeros(3, device=self.device), EVALUATION_BATCH[self.device.type]
        for done in range(0, n, batch):
            noise, labels = self.compute.draw_latents(min(batch, n - done))
            with self.compute.autocast():
                real_logits, class_logits = self.discriminator(self.generator(noise, labels))
            sums += self.compute.objectives.generator(real_logits, class_logits, labels, 1.0).row() * len(labels)
            each()
        return Loss.of((sums / n).tolist())
