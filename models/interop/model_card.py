"""The model card of an exported generator: Markdown after a block of YAML. Free of torch.

https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from models.config import TrainingConfig
from models.data.catalog import DATASETS

LICENCE = "mit"
TASK = "unconditional-image-generation"
METRICS = {  # of the quality gate, which the card shows
    "label_accuracy": "Label accuracy",
    "label_accuracy_worst": "Label accuracy of the worst class",
    "variety": "Variety; 1 is that of real digits",
    "variety_least": "Variety of the least varied class",
    "frechet_distance": "Frechet distance in features of a digit classifier",
}
SNIPPET = """\
from generator import load_generator

generator = load_generator(".")
digits = generator.draw(7, n=8, seed=4)  # torch.uint8 (8, 28, 28), white on black
"""


class Source(NamedTuple):
    """Where the generator comes from."""

    name: str  # of the checkpoint or the file
    config: TrainingConfig | None  # None if it is unknown, as for a file of weights
    epoch: int | None
    metrics: Mapping[str, float]

    @property
    def public_dataset(self) -> str | None:
        """The name of the training data, if others can obtain them."""
        return self.config.dataset if self.config and DATASETS[self.config.dataset].mirrors else None


def model_card(source: Source, files: Mapping[str, str]) -> str:
    """Return the card. `files` are the files of the folder, and what each is."""
    sections = [
        "---\n" + "".join(f"{line}\n" for line in to_yaml(front_matter(source))) + "---",
        "# Handwritten digits of an Auxiliary Classifier GAN",
        f"The generator {code(source.name)} maps a label from 0 to 9 and random numbers to an image of 28 x 28 grey "
        "pixels. It was trained with acgan, an implementation in PyTorch of the [Auxiliary Classifier "
        "GAN](https://arxiv.org/abs/1610.09585).",
        "![Samples: one column for each class; the digits of a row have the same random input](samples.png)",
        "## Use\n\nDownload the folder, and run this in it. It needs torch and safetensors:",
        f"```python\n{SNIPPET}```",
        "The same label, seed and index give the same digit, as in acgan; a few pixels differ by one grey level.",
        table("file", "content", files),
    ]
    if source.config is not None:
        config = source.config.model_dump(mode="json", exclude_none=True)
        fields = {"epoch": source.epoch, **config}
        sections += ["## Training", table("field", "value", {name: code(str(value)) for name, value in fields.items()})]
    if figures := known_metrics(source):
        sections += [
            "## Quality\n\nFigures of acgan's quality check after the epoch, computed with a classifier of digits:",
            table("figure", "value", {METRICS[name]: str(value) for name, value in figures.items()}),
        ]
    return "\n\n".join(sections) + "\n"


def known_metrics(source: Source) -> dict[str, float]:
    return {name: source.metrics[name] for name in METRICS if name in source.metrics}


def front_matter(source: Source) -> dict[str, object]:
    """Return the metadata of the card, in the order in which they are written."""
    fields: dict[str, object] = {
        "license": LICENCE,
        "library_name": "pytorch",
        "pipeline_tag": TASK,
        "tags": ["acgan", "gan", "pytorch", "image-generation", "digits"],
    }
    if (dataset := source.public_dataset) is not None:
        fields["datasets"] = [dataset]
    if source.config is not None and (figures := known_metrics(source)):
        data = source.config.dataset
        fields["metrics"] = list(figures)
        fields["model-index"] = [
            {
                "name": source.name,
                "results": [
                    {
                        "task": {"type": TASK},
                        "dataset": {"name": DATASETS[data].title, "type": data},
                        "metrics": [
                            {"type": name, "value": value, "name": METRICS[name]} for name, value in figures.items()
                        ],
                    }
                ],
            }
        ]
    return fields


def to_yaml(value: object, indent: str = "") -> Iterator[str]:
    """Yield the lines of a mapping or list of JSON values as YAML. YAML contains JSON: strings are quoted as there."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            if isinstance(each, Mapping | list):
                yield f"{indent}{name}:"
                yield from to_yaml(each, indent + "  ")
            else:
                yield f"{indent}{name}: {json.dumps(each)}"
    elif isinstance(value, list):
        for each in value:
            if isinstance(each, Mapping | list):
                first, *rest = to_yaml(each, indent + "  ")
                yield f"{indent}- {first.lstrip()}"
                yield from rest
            else:
                yield f"{indent}- {json.dumps(each)}"


def code(text: str) -> str:
    """Format a text as code in Markdown, on one line and without a character that could end it or a table's cell."""
    return "`" + "".join(" " if each in "`|" or not each.isprintable() else each for each in text) + "`"


def table(left: str, right: str, rows: Mapping[str, str]) -> str:
    return "\n".join([f"| {left} | {right} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
