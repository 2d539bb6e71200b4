"""The formats of other programs that a network can be exported in. Without torch, and without their libraries."""

import importlib.util
from typing import Literal, NamedTuple, get_args

from models.errors import Conflict, Unavailable

Form = Literal["onnx", "keras", "keras3"]
Network = Literal["generator", "discriminator"]

NETWORKS: tuple[Network, ...] = get_args(Network)
HDF5 = "application/x-hdf5"


class ExtraMissing(Unavailable, code="extra-missing"):
    """A library that the format needs is not installed. The message names the extra of the package."""


class NotConvertible(Conflict, code="not-convertible"):
    """The format has no place for this network. The message gives the reason."""


class Format(NamedTuple):
    suffix: str
    media_type: str
    extra: str  # of the distribution, with the libraries
    libraries: tuple[str, ...]
    networks: tuple[Network, ...]


FORMATS: dict[Form, Format] = {
    "onnx": Format(".onnx", "application/octet-stream", "onnx", ("onnx", "onnxscript"), ("generator",)),
    "keras": Format(".hdf5", HDF5, "keras", ("h5py",), NETWORKS),
    "keras3": Format(".weights.h5", HDF5, "keras", ("h5py",), NETWORKS),
}


def export_name(network: Network, form: Form) -> str:
    """Return the name of an exported file, such as `generator.weights.h5`."""
    return f"{network}{FORMATS[form].suffix}"


EXPORTS: dict[str, tuple[Network, Form]] = {
    export_name(network, form): (network, form) for form, kind in FORMATS.items() for network in kind.networks
}


def check_libraries(form: Form) -> None:
    """Raises ExtraMissing if a library that writes the format is not installed."""
    missing = [name for name in FORMATS[form].libraries if importlib.util.find_spec(name) is None]
    if missing:
        raise ExtraMissing(
            f"the format {form} needs libraries that are not installed ({', '.join(missing)}): "
            f"pip install 'acgan[{FORMATS[form].extra}]'"
        )
