"""An example of the figures of an evaluation, of two classes."""

from models.evaluation.evaluation_records import Evaluation, Figures

REAL = Figures(
    digits=2000,
    label_accuracy=0.9955,
    label_accuracy_interval=(0.9915, 0.9976),
    label_accuracies=[0.997, 0.994],
    label_accuracies_intervals=[(0.9912, 0.999), (0.987, 0.9972)],
    confusion=[[997, 3], [6, 994]],
    gan_train=0.995,
    gan_train_interval=(0.9908, 0.9973),
    gan_trains=[0.9951, 0.9949, 0.995],
    lessons=12000,
    frechet_distance=0.021,
    frechet_distance_interval=(0.018, 0.024),
    kernel_distance=0.0004,
    kernel_distance_interval=(0.0001, 0.0007),
    density=1.0,
    density_interval=(0.98, 1.02),
    coverage=0.97,
    coverage_interval=(0.965, 0.975),
    variety=[0.99, 1.01],
    variety_intervals=[(0.97, 1.01), (0.99, 1.03)],
    variety_mean=1.0,
    variety_mean_interval=(0.985, 1.015),
    nearest_distance=1840.0,
    nearest_distance_interval=(1800.0, 1880.0),
    copies=0.01,
    copies_interval=(0.0054, 0.0183),
)


def example(checkpoint: str) -> Evaluation:
    return Evaluation(
        checkpoint=checkpoint,
        dataset="mnist",
        dataset_checksum="sha256:06b0d1f124c4e5fa",
        classes=["0", "1"],
        effort="full",
        judge_accuracy=0.9955,
        judge_accuracy_interval=(0.994, 0.9966),
        generator=REAL.model_copy(update={"frechet_distance": 0.08, "frechet_distance_interval": (0.071, 0.089)}),
        real=REAL,
        device="cpu",
        seconds=312.4,
    )
