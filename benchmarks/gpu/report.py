"""The summary of results.jsonl, as Markdown for benchmarks/README.md. Free of torch."""

from collections import Counter
from collections.abc import Iterable, Sequence

from benchmarks.gpu.plan import GRACE_SECONDS, PARTS
from benchmarks.gpu.results import Line
from models.training.recipes import RECIPES

FEW_KERNELS = 12


def summarize(lines: Sequence[Line]) -> str:
    """Write the summary. A part without results appears only in the table of parts."""
    blocks = [machine(lines), parts(lines), failures(lines), warnings(lines), ways(lines), kernels(lines)]
    blocks += [epoch_end(lines), tests(lines), original(lines), thorough(lines)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Make a Markdown table; an empty string if there are no rows."""
    lines = ["| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings), *lines]) if lines else ""


def of_part(lines: Sequence[Line], *names: str) -> list[Line]:
    return [line for line in lines if line["part"] in names]


def figures_of(lines: Sequence[Line], part: str, name: str) -> Line:
    """Return the figures of a measurement; empty if it failed or did not run."""
    for line in of_part(lines, part):
        if line["name"] == name and line.get("ok"):
            value = line["value"]
            return value if isinstance(value, dict) else {"value": value}
    return {}


def titled(title: str, block: str) -> str:
    return f"{title}\n\n{block}" if block else ""


# ----------------------------------------------------------------------------
# The blocks.


def machine(lines: Sequence[Line]) -> str:
    known = next((line for line in of_part(lines, "machine") if line["name"] == "versions"), {})
    product, copy = figures_of(lines, "machine", "bf16 product"), figures_of(lines, "machine", "copy")
    title = f"### {known.get('device', 'unknown machine')}, torch {known.get('torch', '?')}"
    versions = ", ".join(
        f"{name} {known[name]}" for name in ("cuda", "cudnn", "triton", "python", "cores") if known.get(name)
    )
    data = "MNIST" if known.get("dataset") == "mnist" else "printed digits, because MNIST was missing"
    text = f"`python -m benchmarks.gpu`; {versions}. Training data: {data}."
    if product and copy:
        disk = figures_of(lines, "machine", "50 MiB written and fsynced").get("ms", "?")
        text += f" Upper bounds: {product['tflops']} TFLOP/s (bf16 product), {copy['gb_per_s']} GB/s (copy)."
        text += f" The disk takes {disk} ms for 50 MiB with fsync."
    return f"{title}\n\n{text}"


def parts(lines: Sequence[Line]) -> str:
    rows = []
    for part in PARTS:
        part_lines = of_part(lines, part.name)
        ended = next((line for line in part_lines if line["name"] == "part ended"), None)
        if ended is None and not part_lines:
            continue
        peak = max((line.get("gpu_peak_mib", 0) for line in part_lines), default=0)
        used = max((line.get("gpu_used_mib", 0) for line in part_lines), default=0)
        end = ended or {"exit": "not run"}
        rows.append([part.name, end["exit"], end.get("seconds"), part.seconds, end.get("peak_rss_mib"), peak, used])
    headings = ["part", "exit", "s", "limit, s", "process, MiB", "GPU tensors, MiB", "GPU in use, MiB"]
    return table(headings, rows)


def failures(lines: Sequence[Line]) -> str:
    failed = [line for line in lines if line.get("ok") is False or line.get("outcome") == "failed"]
    rows = [f"- {line['part']}, {line.get('test', line['name'])}: {reason(line)}" for line in failed]
    return titled("Failed:", "\n".join(rows))


def warnings(lines: Sequence[Line]) -> str:
    """List logged warnings, such as a failed capture, each message once."""
    messages = dict.fromkeys(line["message"].splitlines()[0] for line in lines if line["name"] == "warning")
    return titled("Warnings:", "\n".join(f"- {message}" for message in messages))


def reason(line: Line) -> str:
    text = str(line.get("error") or line.get("why") or f"exit code {line.get('exit')}")
    return text.strip().splitlines()[-1]


def ways(lines: Sequence[Line]) -> str:
    rows = []
    for line in of_part(lines, "table", "compiled"):
        way = line.get("value")
        if line.get("ok") and isinstance(way, dict) and "ms_range" in way:
            low, high = way["ms_range"]
            share = "" if way["share_of_peak"] is None else f"{way['share_of_peak']:.1%}"
            figures = [f"{way['ms']:.4g}", f"{low:.4g}-{high:.4g}", way["s_per_epoch"], way["tflops"], share]
            rows.append([way_name(way), *figures, way["first_s"], line.get("gpu_peak_mib")])
    headings = ["iteration", "ms", "range", "s per epoch, training only", "TFLOP/s", "of the measured peak"]
    made = table([*headings, "first iteration, s", "GPU, MiB"], rows)
    host = figures_of(lines, "table", "host time")
    return made + (f"\n\nPython takes {host['ms']} ms to launch an iteration." if host else "")


def way_name(way: Line) -> str:
    flags = " with cudnn.benchmark" * way["benchmark"] + " without determinism" * (not way["deterministic"])
    note = " (NOT captured)" if "graph" in way["how"] and not way["captured"] else ""
    note += " (NO Triton)" if way["iteration"] == "fused" and not way["triton"] else ""
    return f"{way['how']}, {way['recipe']} {way['precision']}, {way['iteration']}{flags}{note}"


def kernels(lines: Sequence[Line]) -> str:
    blocks = []
    for recipe in RECIPES:
        profiled = figures_of(lines, "table", f"kernels {recipe}")
        if profiled:
            rows = [[us, launches, f"`{name}`"] for us, launches, name in profiled["first"][:FEW_KERNELS]]
            title = f"Kernels of an iteration, `{recipe}`: {profiled['launches']} launches, {profiled['us']} us."
            blocks.append(titled(title, table(["us", "launches", "kernel"], rows)))
    return "\n\n".join(blocks)


def epoch_end(lines: Sequence[Line]) -> str:
    ends = {recipe: figures_of(lines, "smoke", f"{recipe}: end of an epoch") for recipe in RECIPES}
    ends = {recipe: end for recipe, end in ends.items() if end}
    names = dict.fromkeys(name for end in ends.values() for name in end["ms"])
    rows: list[list[object]] = [[name, *(end["ms"].get(name) for end in ends.values())] for name in names]
    if rows:
        rows.append(["training waits for", *(end["training_waits_ms"] for end in ends.values())])
    return table(["end of an epoch", *(f"`{recipe}`, ms" for recipe in ends)], rows)


def tests(lines: Sequence[Line]) -> str:
    """Count the outcomes of the tests. If the part was cut, those of the tests that had ended."""
    of_tests = of_part(lines, "tests")
    counted = Counter(line["outcome"] for line in of_tests if line["name"] == "test")
    ended: Line | None = next((line for line in of_tests if line["name"] == "tests"), None)
    if ended is None and not counted:
        return ""
    figures = counted if ended is None else ended
    outcomes = ", ".join(f"{figures[name]} {name}" for name in ("passed", "failed", "skipped") if name in figures)
    if ended is None:
        where = f" ({how_it_was_cut(of_tests)})"
    else:
        where = " (a rehearsal on the CPU)" if ended["rehearsed"] else ""
    return f"`pytest -m gpu`: {outcomes}{where}."


def how_it_was_cut(lines: Sequence[Line]) -> str:
    """Return how a part ended that has not written its last result."""
    end = next((line for line in lines if line["name"] == "part ended"), None)
    if end is None:
        return "incomplete"
    if end["exit"] < 0 and end["seconds"] >= end["limit_seconds"] - GRACE_SECONDS - 0.1:  # both are rounded
        return "cut at its limit"
    return f"cut by exit code {end['exit']}"


def original(lines: Sequence[Line]) -> str:
    run = figures_of(lines, "original", "100 epochs")
    if not run:
        return ""
    stopped = " (stopped at its limit)" if run["stopped"] else ""
    text = f"`acgan train`, the original recipe: {run['epochs']} epochs in {run['wall_s']} s{stopped}, "
    text += f"{run['with_imports_s']} s with imports and loading; {run['written_mb']} MB written. "
    if "s_per_epoch_with_everything" in run:
        text += f"An epoch takes {run['s_per_epoch_with_everything']} s in total, "
        text += f"{run['s_per_epoch_training_and_evaluation']} s of them training and evaluation (median)."
    return text


def thorough(lines: Sequence[Line]) -> str:
    trained = next((line for line in of_part(lines, "thorough") if line["name"] == "thorough trained"), {})
    if not trained.get("ok"):
        return ""
    text = f"`thorough`: {trained['epochs']} epochs of {trained['planned']} planned; "
    text += f"best is epoch {trained['best']}, Frechet distance {trained['frechet_distance']} by the choosing judge."
    rows = []
    for effort in ("quick", "full"):
        if figures := figures_of(lines, "thorough", f"evaluation, {effort}"):
            variety = f"{min(figures['variety']):.2f} - {max(figures['variety']):.2f}"
            shares = [f"{figures[name]:.2%}" for name in ("gan_train", "label_accuracy", "copies")]
            rows.append([effort, *shares, round(figures["frechet_distance"], 3), variety])
    headings = ["evaluation", "GAN-train", "label accuracy", "copies", "Frechet distance", "variety, least - most"]
    return "\n\n".join(block for block in (text, table(headings, rows)) if block)
