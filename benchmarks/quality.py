"""The table of docs/quality.md: figures of `acgan evaluate` for runs of `acgan train`, as Markdown.

python -m benchmarks.quality seed=runs/seed sharp=runs/sharp --epochs 5 15 [--quick] [--json FILE]
python -m benchmarks.quality [--json FILE]      # the package's own generator
"""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from app.cli.local.evaluation import evaluate_here
from app.settings import AppSettings
from models.evaluation.evaluation_records import Figures
from models.registry import bundled

HEADINGS = (
    "",
    "GAN-train",
    "label accuracy",
    "worst class",
    "Frechet",
    "kernel",
    "density",
    "coverage",
    "variety, least - most",
    "copies",
)


def row(name: str, figures: Figures) -> str:
    cells = (
        name,
        f"{figures.gan_train:.2%}",
        f"{figures.label_accuracy:.2%}",
        f"{min(figures.label_accuracies):.2%}",
        f"{figures.frechet_distance:.3f}",
        f"{figures.kernel_distance:.4f}",
        f"{figures.density:.2f}",
        f"{figures.coverage:.2f}",
        f"{min(figures.variety):.2f} - {max(figures.variety):.2f}",
        f"{figures.copies:.1%}",
    )
    return f"| {' | '.join(cells)} |"


def files(run: Path, epoch: int) -> dict[str, Path]:
    return {
        "": run / f"params_generator_epoch_{epoch:03d}.safetensors",
        ", averaged": run / f"params_generator_average_epoch_{epoch:03d}.safetensors",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", help="runs, as name=folder of `acgan train --out`")
    parser.add_argument("--epochs", type=int, nargs="+", default=[5, 15])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    generators = {} if asked.runs else {"the package's own": str(bundled.checkpoint())}
    for run in asked.runs:
        name, _, folder = run.partition("=")
        for epoch in asked.epochs:
            for kind, path in files(Path(folder), epoch).items():
                if path.exists():
                    generators[f"{name}, {epoch} epochs{kind}"] = str(path)
    settings, console = AppSettings(), Console(stderr=True)
    evaluations: dict[str, object] = {}
    sys.stdout.write(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}\n")
    for name, generator in generators.items():
        evaluation = evaluate_here(settings, generator, "mnist", asked.quick, None, console)
        if not evaluations:
            sys.stdout.write(row("real digits", evaluation.real) + "\n")
        evaluations[name] = evaluation.model_dump(mode="json")
        sys.stdout.write(row(name, evaluation.generator) + "\n")
        sys.stdout.flush()
    if asked.json:
        asked.json.write_text(json.dumps(evaluations, indent=2))


if __name__ == "__main__":
    main()
