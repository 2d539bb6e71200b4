"""The model card of an exported generator: Markdown after a block of YAML. Free of torch.

https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from models.config import TrainingConfig
from models.data.catalog import DATASETS, DIGITS

LICENCE = "mit"
TASK = "unconditional-image-generation"
METRICS = {  # of the quality gate, which the card shows
    "label_accuracy": "Label accuracy",
    "label_accuracy_worst": "Label accuracy of the worst class",
    "variety": "Variety; 1 is that of real {content}",
    "variety_least": "Variety of the least varied class",
    "frechet_distance": "Frechet distance in features of {classifier}",
}
SNIPPET = """\
from generator import load_generator

generator = load_generator(".")
{content} = generator.draw({label}, n=8, seed=4)  # torch.uint8 (8, 28, 28), white on black{comment}
"""
ON_THE_HUB = ("mnist", "fashion_mnist")  # training data that Hugging Face has under this name


class Source(NamedTuple):
    """Where the generator comes from."""

    name: str  # of the checkpoint or the file
    config: TrainingConfig | None  # None if it is unknown, as for a file of weights
    epoch: int | None
    metrics: Mapping[str, float]
    class_names: tuple[str, ...] = DIGITS

    @property
    def public_dataset(self) -> str | None:
        """The name of the training data, if others can obtain them."""
        return self.config.dataset if self.config and self.config.dataset in ON_THE_HUB else None

    def classes(self, count: int) -> tuple[str, ...]:
        """Return the names of a generator's labels; numbers if they are unknown."""
        return self.class_names if len(self.class_names) == count else tuple(map(str, range(count)))


def content(classes: Sequence[str]) -> str:
    """Return what the images show, in the plural."""
    return "digits" if tuple(classes) == DIGITS else "images"


def model_card(source: Source, files: Mapping[str, str], classes: Sequence[str] = DIGITS) -> str:
    """Return the card. `files` are the files of the folder, and what each is; `classes` the names of the labels."""
    are_digits, shown, last = tuple(classes) == DIGITS, content(classes), len(classes) - 1
    label = min(7, last)
    comment = "" if are_digits else f", of the class {code(classes[label])}"
    names = "" if are_digits else f"The labels are: {', '.join(map(code, classes))}. "
    sections = [
        "---\n" + "".join(f"{line}\n" for line in to_yaml(front_matter(source, classes))) + "---",
        f"# {'Handwritten digits' if are_digits else 'Images'} of an Auxiliary Classifier GAN",
        f"The generator {code(source.name)} maps a label from 0 to {last} and random numbers to an image of 28 x 28 "
        f"grey pixels. {names}It was trained with acgan, an implementation in PyTorch of the [Auxiliary Classifier "
        "GAN](https://arxiv.org/abs/1610.09585).",
        f"![Samples: one column for each class; the {shown} of a row have the same random input](samples.png)",
        "## Use\n\nDownload the folder, and run this in it. It needs torch and safetensors:",
        f"```python\n{SNIPPET.format(content=shown, label=label, comment=comment)}```",
        f"The same label, seed and index give the same {shown[:-1]}, as in acgan; a few pixels differ by one grey "
        "level.",
        table("file", "content", files),
    ]
    if source.config is not None:
        config = source.config.model_dump(mode="json", exclude_none=True)
        fields = {"epoch": source.epoch, **config}
        sections += ["## Training", table("field", "value", {name: code(str(value)) for name, value in fields.items()})]
    if figures := known_metrics(source):
        sections += [
            f"## Quality\n\nFigures of acgan's quality check after the epoch, computed with a classifier of {shown}:",
            table("figure", "value", {metric(name, classes): str(value) for name, value in figures.items()}),
        ]
    return "\n\n".join(sections) + "\n"


def metric(name: str, classes: Sequence[str]) -> str:
    shown = content(classes)
    return METRICS[name].format(content=shown, classifier=f"a {shown[:-1]} classifier")


def known_metrics(source: Source) -> dict[str, float]:
    return {name: source.metrics[name] for name in METRICS if name in source.metrics}


def front_matter(source: Source, classes: Sequence[str] = DIGITS) -> dict[str, object]:
    """Return the metadata of the card, in the order in which they are written."""
    fields: dict[str, object] = {
        "license": LICENCE,
        "library_name": "pytorch",
        "pipeline_tag": TASK,
        "tags": ["acgan", "gan", "pytorch", "image-generation", *(["digits"] if content(classes) == "digits" else [])],
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
                        "dataset": {"name": DATASETS[data].title if data in DATASETS else data, "type": data},
                        "metrics": [
                            {"type": name, "value": value, "name": metric(name, classes)}
                            for name, value in figures.items()
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
