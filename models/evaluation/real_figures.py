"""The figures of real digits, beside which those of a generator are read: in the package, in the cache, or computed."""

import logging
from importlib import resources
from pathlib import Path

from models.atomic_files import write_durably
from models.bounded_reading import FileFault, FileMissing, parse_record, read_bounded
from models.evaluation.evaluation_records import Figures
from models.evaluation.evaluator import Evaluator

logger = logging.getLogger(__name__)

FIGURES_LIMIT = 1 << 20  # bytes; the figures of real digits have 3 KB


def find_real(examiner: Evaluator, cache: Path) -> Figures:
    """Return the quality figures of real digits, from the package or the cache. Else compute and cache them.

    Raises FiguresNotFinite and OSError; then nothing is cached.
    """
    found = known_real(examiner, cache)
    if found is not None:
        return found
    examiner.report_step("measuring real digits first, once")
    real = examiner.examine_real()
    write_durably(cache / file_name(examiner), real.model_dump_json(indent=2).encode())
    return real


def known_real(examiner: Evaluator, cache: Path) -> Figures | None:
    name = file_name(examiner)
    bundled = resources.files("models") / "judges" / name
    if bundled.is_file():
        return Figures.model_validate_json(bundled.read_bytes())
    try:
        return parse_record(Figures, read_bounded(cache / name, FIGURES_LIMIT), FIGURES_LIMIT, str(cache / name))
    except FileMissing:
        pass
    except FileFault as error:
        logger.warning("figures of real digits will be computed again: %s", error)
    return None


def file_name(examiner: Evaluator) -> str:
    effort = examiner.effort
    return f"{examiner.dataset.checksum.removeprefix('sha256:')[:16]}-real-{effort.lessons}-{effort.pupils}.json"
