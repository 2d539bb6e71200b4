"""The figures of real digits, beside which those of a generator are read: in the package, in the cache, or computed."""

import logging
from pathlib import Path

from models.atomic_files import write_durably
from models.bounded_reading import FileFault, FileMissing, parse_record, read_bounded
from models.evaluation.evaluation_records import Figures, packaged_file, packaged_judge
from models.evaluation.evaluator import Evaluator

logger = logging.getLogger(__name__)

FIGURES_LIMIT = 1 << 20  # bytes; the figures of real digits have 3 KB


def find_real(evaluator: Evaluator, cache: Path) -> Figures:
    """Return the quality figures of real digits, from the package or the cache. Else compute and cache them.

    Raises FiguresNotFinite and OSError; then nothing is cached.
    """
    found = known_real(evaluator, cache)
    if found is not None:
        return found
    evaluator.report_step("measuring real digits first, once")
    real = evaluator.examine_real()
    write_durably(cache / file_name(evaluator), real.model_dump_json(indent=2).encode())
    return real


def known_real(evaluator: Evaluator, cache: Path) -> Figures | None:
    """Return the figures that the package or the cache has for this judge; None if they must be computed."""
    judge, effort = packaged_judge(evaluator.dataset.name, evaluator.judge.role), evaluator.effort
    if judge and (bundled := packaged_file(f"{_data(evaluator)}-real-{effort.lessons}-{effort.pupils}.json")):
        return Figures.model_validate_json(bundled.read_bytes())
    path = cache / file_name(evaluator)
    try:
        return parse_record(Figures, read_bounded(path, FIGURES_LIMIT), FIGURES_LIMIT, str(path))
    except FileMissing:
        pass
    except FileFault as error:
        logger.warning("figures of real digits will be computed again: %s", error)
    return None


def file_name(evaluator: Evaluator) -> str:
    """Return the name in the cache. It names the judge: one that is trained again may be another one."""
    effort = evaluator.effort
    return f"{_data(evaluator)}-real-{evaluator.judge.checksum[:16]}-{effort.lessons}-{effort.pupils}.json"


def _data(evaluator: Evaluator) -> str:
    return evaluator.dataset.checksum.removeprefix("sha256:")[:16]
