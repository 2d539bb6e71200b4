"""Converts stored weights to the formats of other programs. Imports the libraries of a format only to convert.

ONNX is written by a process of its own: torch's exporter changes process-wide state (stdout, warnings), holds the
interpreter for seconds and keeps some 270 MB.
"""

import io
import os
import subprocess
import sys
from contextlib import suppress

from models.config import NUM_CLASSES
from models.errors import Unavailable
from models.interop.formats import Form, Network, NotConvertible, check_libraries
from models.networks.acgan import Discriminator, Generator
from models.networks.weights import discriminator_from_bytes, generator_from_bytes

SECONDS = 120.0  # for a conversion in a process of its own; one core needs 6
NICE = 10


class ConversionFailed(Unavailable, code="conversion-failed"):
    """The process that converts a network ended without a result."""


def convert(data: bytes, network: Network, form: Form, name: str, classes: int = NUM_CLASSES) -> bytes:
    """Convert the bytes of a `.safetensors` file. The same weights and libraries always give the same bytes.

    `name` is that of the checkpoint; ONNX stores it in its metadata. `classes` is the number of the training data's
    classes, from which a discriminator of Keras is recognised. Raises ExtraMissing, InvalidWeights,
    NotConvertible, and ConversionFailed if ONNX is not written within two minutes.
    """
    check_libraries(form)
    if form == "onnx":
        return _onnx_in_a_process(data, name)
    read = generator_from_bytes if network == "generator" else discriminator_from_bytes
    return to_format(read(data, f"the {network} of {name}"), form, name, classes)


def to_format(network: Generator | Discriminator, form: Form, name: str, classes: int = NUM_CLASSES) -> bytes:
    """Convert a network in this process; `name` and `classes` as for `convert`.

    Raises ExtraMissing, and NotConvertible for a discriminator as ONNX or with another number of classes.
    """
    check_libraries(form)
    if form == "onnx":
        from models.interop.onnx import to_onnx

        if not isinstance(network, Generator):
            raise NotConvertible("only generators can be written as ONNX")
        return to_onnx(network, name)

    from models.interop.keras import save_weights
    from models.interop.keras_3 import save_weights_3

    buffer = io.BytesIO()
    (save_weights_3 if form == "keras3" else save_weights)(network, buffer, classes)
    return buffer.getvalue()


def _onnx_in_a_process(data: bytes, name: str) -> bytes:
    command = [sys.executable, "-P", "-m", "models.interop.exports", name]
    try:
        ended = subprocess.run(command, input=data, capture_output=True, timeout=SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise ConversionFailed(f"{name} was not converted to ONNX within {SECONDS:.0f} s") from None
    if ended.returncode or not ended.stdout:
        last = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ConversionFailed(f"{name} was not converted to ONNX: {last[:200] or f'exit code {ended.returncode}'}")
    return ended.stdout


def main() -> None:
    """Read a generator's `.safetensors` from stdin, and write ONNX to stdout."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print does not mix with the result
    with suppress(AttributeError, OSError):
        os.nice(NICE)  # digits are drawn first
    with results:
        results.write(to_format(generator_from_bytes(sys.stdin.buffer.read()), "onnx", sys.argv[1]))


if __name__ == "__main__":
    main()
