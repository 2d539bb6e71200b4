"""The captured iteration under torch.compile. It runs last, because compiling may take as long as all other parts."""

from functools import partial

from benchmarks.gpu.context import PartContext
from benchmarks.gpu.parts.machine import bf16_product
from benchmarks.gpu.parts.table import Way, measure_way

WAYS = (Way("compiled graph", "seed"), Way("compiled graph", "seed", iteration="plain"))


def run(context: PartContext) -> None:
    if not context.on_gpu:
        context.log.write("compiled", ok=True, skipped="torch.compile is measured on a GPU only")
        return
    dataset = context.load_dataset(6000)
    peak = context.measure("bf16 product", partial(bf16_product, context))
    for way in WAYS:
        context.measure(way.name, partial(measure_way, context, dataset, way, peak["tflops"] if peak else None))
