from collections import Counter

import pytest
import torch

from models.config import DatasetName, RecipeName, TrainingConfig
from models.data.dataset import Dataset
from models.records import EpochLosses, Loss, NonFiniteLoss, Progress, SplitLosses, TooFewImages
from models.training.randomness import Purpose, derive_seed
from models.training.recipes import RECIPES
from models.training.throughput import Throughput
from models.training.trainer import Trainer
from tests.conftest import NEEDS_BF16, small

CPU = torch.device("cpu")


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    networks = {"generator": trainer.generator, "discriminator": trainer.discriminator}
    return {f"{name}.{key}": value.clone() for name, net in networks.items() for key, value in net.state_dict().items()}


def run(config: TrainingConfig, dataset: Dataset) -> tuple[list[EpochLosses], dict[str, torch.Tensor]]:
    trainer = Trainer(config, dataset, CPU)
    losses = [result.losses for result in trainer.run()]
    return losses, weights(trainer)


def test_the_same_seed_gives_the_same_run_to_the_bit(config: TrainingConfig, dataset: Dataset) -> None:
    first_losses, first = run(config, dataset)
    torch.manual_seed(99)  # numbers drawn before do not matter
    second_losses, second = run(config, dataset)
    assert first_losses == second_losses
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_gives_another_run(config: TrainingConfig, dataset: Dataset) -> None:
    _, first = run(config.model_copy(update={"epochs": 1}), dataset)
    _, second = run(config.model_copy(update={"epochs": 1, "seed": 7}), dataset)
    assert not torch.equal(first["generator.dense.weight"], second["generator.dense.weight"])


def test_an_epoch_has_twelve_finite_losses(config: TrainingConfig, dataset: Dataset) -> None:
    results = list(Trainer(config, dataset, CPU).run())
    assert [result.epoch for result in results] == [1, 2]
    for losses in (result.losses for result in results):
        for row in (
            losses.generator.train,
            losses.generator.test,
            losses.discriminator.train,
            losses.discriminator.test,
        ):
            assert row.loss == pytest.approx(row.generation_loss + row.auxiliary_loss, rel=1e-4)
            assert 0 < row.generation_loss < 20
            assert 0 < row.auxiliary_loss < 20


def test_training_losses_are_the_mean_of_the_iterations(config: TrainingConfig, dataset: Dataset) -> None:
    trainer = Trainer(config, dataset, CPU)
    sums = []
    trainer.check = lambda: sums.append(trainer.compute.generator_losses.clone())
    generator, _ = trainer.train_epoch(Throughput(2, trainer.batches, config.batch_size))
    assert len(sums) == 3
    assert (sums[0] < sums[1]).all()
    assert generator.loss == pytest.approx(sums[2][0].item() / 3)


def test_the_remainder_of_a_batch_is_dropped(dataset_name: DatasetName, dataset: Dataset) -> None:
    assert Trainer(small(dataset_name, batch_size=8), dataset, CPU).batches == 2
    with pytest.raises(TooFewImages, match="has 18 training images, less than one batch of 19: lower batch_size"):
        Trainer(small(dataset_name, batch_size=19, train_examples=None), dataset, CPU)


def test_the_discriminators_step_leaves_the_generator_alone(config: TrainingConfig, dataset: Dataset) -> None:
    trainer = Trainer(config, dataset, CPU)
    before = weights(trainer)
    images, labels = torch.rand(6, 1, 28, 28), torch.arange(6)
    trainer.compute.discriminator_step(images, labels, *trainer.compute.draw_latents(6))
    after = weights(trainer)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("generator"))
    assert not torch.equal(before["discriminator.conv_1.weight"], after["discriminator.conv_1.weight"])


def test_the_generators_step_leaves_the_discriminator_alone(config: TrainingConfig, dataset: Dataset) -> None:
    trainer = Trainer(config, dataset, CPU)
    before = weights(trainer)
    trainer.compute.generator_step(*trainer.compute.draw_latents(12))
    after = weights(trainer)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("discriminator"))
    for name in ("embedding.weight", "upsample_28.weight", "norm_7.running_mean"):
        assert not torch.equal(before[f"generator.{name}"], after[f"generator.{name}"])
    assert all(p.requires_grad for p in trainer.discriminator.parameters())


def test_evaluation_changes_nothing(config: TrainingConfig, dataset: Dataset) -> None:
    trainer = Trainer(config, dataset, CPU)
    before = weights(trainer)
    assert trainer.evaluate(1) == trainer.evaluate(1)
    after = weights(trainer)
    assert all(torch.equal(before[name], after[name]) for name in before)


@NEEDS_BF16
def test_bf16_computes_roughly_the_same(dataset_name: DatasetName, dataset: Dataset) -> None:
    exact, _ = run(small(dataset_name, epochs=1, precision="fp32"), dataset)
    rough, _ = run(small(dataset_name, epochs=1, precision="bf16"), dataset)
    assert exact != rough
    assert rough[0].generator.train.loss == pytest.approx(exact[0].generator.train.loss, rel=0.02)
    assert rough[0].discriminator.train.loss == pytest.approx(exact[0].discriminator.train.loss, rel=0.02)


def test_auto_precision_is_chosen_when_a_run_starts(config: TrainingConfig, dataset: Dataset) -> None:
    assert config.precision == "auto"
    assert Trainer(config, dataset, CPU).config.precision in ("fp32", "bf16")


def test_a_check_that_raises_ends_the_run_at_once(config: TrainingConfig, dataset: Dataset) -> None:
    class Enough(Exception):
        pass

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Enough

    with pytest.raises(Enough):
        list(Trainer(config, dataset, CPU).run(check=check))
    assert calls == 2


def test_a_diverging_run_ends_with_a_sentence(dataset_name: DatasetName, dataset: Dataset) -> None:
    trainer = Trainer(small(dataset_name), dataset, CPU)
    with torch.no_grad():
        trainer.discriminator.generation.weight.fill_(float("inf"))
    with pytest.raises(NonFiniteLoss, match="lower adam_lr"):
        list(trainer.run())


def test_progress_is_reported_at_least_at_the_end_of_an_epoch(config: TrainingConfig, dataset: Dataset) -> None:
    answer: list[Progress] = []
    list(Trainer(config, dataset, CPU).run(answer.append))
    ends = [(p.epoch, p.batch) for p in answer if p.batch == p.batches]
    assert list(dict.fromkeys(ends)) == [(1, 3), (2, 3)]
    assert min(Counter(ends).values()) >= 2  # after the last iteration, after the evaluation; and each second of it
    assert all(p.images_per_second > 0 and p.eta_seconds > 0 for p in answer[:-1])
    assert answer[-1].eta_seconds == 0


def test_throughput_counts_iterations_and_the_ends_of_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    pace = Throughput(epochs=3, batches=10, batch_size=100, ending=4)
    for epoch in (1, 2):
        pace.epoch_begins(epoch)
        reports = []
        for batch in range(1, 11):
            now += 0.8
            reports.append(pace.iteration_done(batch))
        assert [batch for batch, due in enumerate(reports, 1) if due] == [2, 4, 6, 8, 10]
        if epoch == 1:
            assert pace.progress().eta_seconds == pytest.approx(2 * 10 * 0.8 + 3 * 4 * 0.8)
            now += 5.0  # evaluation and checkpoint
            pace.epoch_ends()
    assert pace.progress().images_per_second == pytest.approx(125)
    assert pace.progress().eta_seconds == pytest.approx(5 + 10 * 0.8 + 5)


@pytest.mark.long
def test_the_learning_rate_falls_over_the_second_half_of_a_sharp_run(
    dataset_name: DatasetName, dataset: Dataset
) -> None:
    def rates(recipe: RecipeName) -> list[float]:
        trainer = Trainer(small(dataset_name, epochs=4, recipe=recipe), dataset, CPU)
        seen: dict[int, float] = {}

        def look() -> None:
            seen[trainer.epoch] = trainer.compute.discriminator_adam.param_groups[0]["lr"] / trainer.config.adam_lr

        for _ in trainer.run(check=look):
            pass
        return list(seen.values())

    assert rates("seed") == [1.0, 1.0, 1.0, 1.0]
    assert rates("sharp") == [2.0, 2.0, 2.0, 1.0]


def test_thorough_is_sharp_with_half_the_batch_size_and_distorted_images() -> None:
    sharp, thorough = RECIPES["sharp"], RECIPES["thorough"]
    assert (sharp.batch_size, thorough.batch_size) == (100, 50)
    assert (sharp.distorted_share, thorough.distorted_share) == (0, 0.5)
    undistorted = thorough._replace(distorted_share=0, most_distortion=())
    assert undistorted._replace(description=sharp.description, batch_size=100) == sharp


def test_derived_seeds_never_collide() -> None:
    seeds = {derive_seed(s, p, e, i) for s in (0, 1) for p in Purpose for e in range(4) for i in range(4)}
    assert len(seeds) == 2 * len(Purpose) * 4 * 4


def test_the_table_has_the_original_layout() -> None:
    row = Loss(loss=1.23456, generation_loss=0.5, auxiliary_loss=0.73456)
    split = SplitLosses(train=row, test=row)
    assert EpochLosses(generator=split, discriminator=split).table().splitlines() == [
        "component              | loss | generation_loss | auxiliary_loss",
        "-" * 65,
        "generator (train)      | 1.23 | 0.5000          | 0.7346",
        "generator (test)       | 1.23 | 0.5000          | 0.7346",
        "discriminator (train)  | 1.23 | 0.5000          | 0.7346",
        "discriminator (test)   | 1.23 | 0.5000          | 0.7346",
    ]
