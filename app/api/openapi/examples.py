"""Examples for the OpenAPI document: a running job, its checkpoint, and each error response."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from app.api.content import SUPPORTED
from app.api.exploration.training_images import absent
from app.api.openapi.evaluation_example import example
from app.problems.problem import Mistake, Problem, ProblemDescription
from app.problems.ranges import NoSuchRange
from app.problems.redis_diagnosis import GONE
from app.problems.refusals import FOREIGN_ORIGIN, TOO_LONG
from app.schemas.checkpoints import CheckpointList, CheckpointView, ServingView
from app.schemas.datasets import DatasetList, DatasetView
from app.schemas.evaluations import EvaluationList, EvaluationView
from app.schemas.events import JobEvent, ProgressEvent
from app.schemas.health import Readiness
from app.schemas.jobs import JobHistory, JobList, JobView
from app.schemas.live import LiveView
from app.schemas.training_data import TrainingDataList, TrainingDataView
from models.config import TrainingConfig
from models.data.reference import Reference
from models.evaluation.evaluation_records import EvaluationOrder
from models.records import EpochLosses, LiveLosses, Loss, Progress, SplitLosses, to_csv
from models.registry.store import DISCRIMINATOR, GENERATOR, SAMPLES, CheckpointId, FileRecord, Manifest
from models.registry.training_data import PREVIEW, TrainingDataManifest
from models.synthesis.order import DatasetFile, DatasetManifest, DatasetOrder
from worker.jobs.client import QueueFull
from worker.jobs.model import EpochRecord, Job, JobKind, JobStatus

JOB = "20260131-120000-00001c"
CHECKPOINT = str(CheckpointId(JOB, 1))
BEGAN = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def loss(generation: float, auxiliary: float) -> Loss:
    return Loss(loss=round(generation + auxiliary, 4), generation_loss=generation, auxiliary_loss=auxiliary)


LOSSES = EpochLosses(
    generator=SplitLosses(train=loss(0.9749, 0.0457), test=loss(0.7447, 0.0144)),
    discriminator=SplitLosses(train=loss(0.6899, 0.1669), test=loss(0.7275, 0.0579)),
)
METRICS = {"label_accuracy": 0.9916, "label_accuracy_worst": 0.97, "variety": 0.84, "frechet_distance": 4.32}
CONFIG = TrainingConfig(epochs=2, precision="fp32", name="first try")
PROGRESS = Progress(epoch=2, epochs=2, batch=150, batches=600, images_per_second=410.0, eta_seconds=109.8)
LIVE = LiveView(
    phase="training",
    newest=41,
    losses=[
        LiveLosses(
            number=41,
            epoch=2,
            batch=150,
            batches=600,
            iterations=4,
            generator=LOSSES.generator.train,
            discriminator=LOSSES.discriminator.train,
        )
    ],
    sample=None,
)
RUNNING = Job(
    id=JOB,
    status=JobStatus.RUNNING,
    config=CONFIG,
    created_at=BEGAN,
    started_at=BEGAN + timedelta(seconds=1),
    progress=PROGRESS,
    epochs=[EpochRecord(epoch=1, seconds=161.3, losses=LOSSES, checkpoint=CHECKPOINT, metrics=METRICS)],
    device="cpu (2 threads)",
    worker="laptop:4711",
)
MANIFEST = Manifest(
    id=CHECKPOINT,
    job=JOB,
    epoch=1,
    created_at=BEGAN + timedelta(seconds=162),
    config=CONFIG,
    seconds=161.3,
    losses=LOSSES,
    metrics=METRICS,
    dataset_checksum="sha256:06b0d1f124c4e5fa",
    device="cpu (2 threads)",
    code_version="0.1.0",
    fence=7,
    files={name: FileRecord.of(name.encode()) for name in (GENERATOR, DISCRIMINATOR, SAMPLES)},
)

ORDERED = Job(
    id="20260131-130000-00001d",
    kind_name=JobKind.DATASET.value,
    status=JobStatus.RUNNING,
    config=CONFIG,
    order=DatasetOrder(checkpoint=CHECKPOINT),
    created_at=BEGAN + timedelta(hours=1),
    started_at=BEGAN + timedelta(hours=1, seconds=1),
    progress=Progress(epoch=1, epochs=1, batch=28000, batches=70000, images_per_second=3900.0, eta_seconds=10.8),
    device="cpu (2 threads)",
    worker="laptop:4711",
)

EVALUATED = ORDERED.model_copy(
    update={
        "kind_name": JobKind.EVALUATION.value,
        "order": None,
        "evaluation": EvaluationOrder(checkpoint=CHECKPOINT),
        "progress": Progress(epoch=1, epochs=1, batch=12, batches=16, images_per_second=0.0, eta_seconds=80.0),
    }
)
EVALUATION = example(CHECKPOINT)

LABELS = DatasetFile(sha256="5f" * 32, size=28881, unpacked_sha256="a3" * 32, examples=60000, first_index=0)

BUILT_IN = TrainingDataView.of_built_in("mnist", [MANIFEST])
LETTERS = TrainingDataView.of_brought(
    Reference("letters"),
    TrainingDataManifest(
        name="letters",
        version=2,
        created_at=BEGAN,
        classes=("a", "b"),
        train_counts=(480, 500),
        test_counts=(60, 60),
        source="letters.zip",
        dataset_checksum="sha256:9d1c41f0b2aa6b1e",
        code_version="0.1.0",
        files={PREVIEW: FileRecord.of(PREVIEW.encode())},
    ),
    [1, 2],
    [],
)

ANSWERS = {  # by the name of the schema
    type(model).__name__: model.model_dump(mode="json")
    for model in (
        JobView.of(RUNNING),
        JobList(jobs=[JobView.of(RUNNING)], next=f"/jobs?limit=1&before={JOB}"),
        JobHistory.of(RUNNING),
        LIVE,
        MANIFEST,
        CheckpointView.of(MANIFEST),
        CheckpointList(serving=CHECKPOINT, checkpoints=[CheckpointView.of(MANIFEST)]),
        LETTERS,
        TrainingDataList(training_data=[BUILT_IN, LETTERS]),
        DatasetView.of(ORDERED),
        DatasetList(datasets=[DatasetView.of(ORDERED)], next=None),
        EVALUATION,
        EvaluationView.of(EVALUATED),
        EvaluationList(evaluations=[EvaluationView.of(EVALUATED)], next=None),
        ServingView(serving=CHECKPOINT, serving_dataset="mnist"),
        Readiness(ready=True, redis="up", serving=CHECKPOINT),
        ProblemDescription.of("job-not-found"),
        JobEvent(ProgressEvent(event="progress", id="1769860900123-0", data=PROGRESS)),
        DatasetManifest(
            generator_sha256=FileRecord.of(GENERATOR.encode()).sha256,
            device="cpu (2 threads)",
            code_version="0.1.0",
            order=DatasetOrder(checkpoint=CHECKPOINT),
            created_at=BEGAN + timedelta(hours=1, minutes=1),
            files={"train-labels-idx1-ubyte.gz": LABELS},
        ),
    )
}
TEXTS = {
    "text/csv": to_csv(RUNNING.epochs),
    "text/plain": 'acgan_jobs{status="running"} 1.0\n',
}


# ----------------------------------------------------------------------------
# Errors.


class ErrorExample(NamedTuple):
    """A status, its meaning, and examples of its problems by title."""

    status: int
    meaning: str
    problems: dict[str, Problem]


EPOCHS = Mistake(field="body.epochs", message="should be at least 1, not 0")

ERRORS = (
    ErrorExample(
        400,
        "The request, or its body, cannot be read.",
        {
            "no JSON object": Problem.of("unreadable-body", "the body cannot be read"),
            "no HTTP": Problem.of(
                "malformed-request",
                "This is not a valid HTTP/1.1 request with exactly one Host. GET /docs describes the API.",
            ),
        },
    ),
    ErrorExample(
        401,
        "The request has no key or an unknown one, and the service requires keys.",
        {"no key": Problem.of("key-required", "this needs a key")},
    ),
    ErrorExample(
        403,
        "The role of the key does not allow it, or a web page of another origin sent the request.",
        {
            "role": Problem.of(
                "not-allowed",
                "the key 'ana' has the role read, and this needs the role train: ask the operator of the service for "
                "such a key",
            ),
            "not your job": Problem.of(
                "not-allowed",
                f"job {JOB} was started with the key 'ben': only that key, or a key with the role admin, can change it",
            ),
            "another origin": Problem.of("foreign-origin", FOREIGN_ORIGIN),
        },
    ),
    ErrorExample(
        404,
        "The job, checkpoint or file does not exist.",
        {
            "no job": Problem.of("job-not-found", f"there is no job {JOB}"),
            "no checkpoint": Problem.of("checkpoint-not-found", f"there is no checkpoint {CHECKPOINT}"),
            "no training images": Problem.of("training-data-not-found", absent("mnist")),
        },
    ),
    ErrorExample(
        406,
        "The service supports none of the formats in `Accept`.",
        {"no format": Problem.of("not-acceptable", SUPPORTED)},
    ),
    ErrorExample(
        408,
        "The request did not arrive in time.",
        {"late": Problem.of("request-timeout", "the request took more than 10 seconds to arrive")},
    ),
    ErrorExample(
        409,
        "The state of the job or checkpoint does not allow it.",
        {"ended": Problem.of("invalid-transition", f"job {JOB} has succeeded already: there is nothing to cancel")},
    ),
    ErrorExample(
        412,
        "The serving policy changed after the version in `If-Match`.",
        {"changed": Problem.of("precondition-failed", "the serving policy was changed meanwhile")},
    ),
    ErrorExample(413, "The body is too long.", {"long": Problem.of("body-too-long", TOO_LONG)}),
    ErrorExample(
        415,
        "The body is not declared as JSON.",
        {"not JSON": Problem.of("unsupported-media-type", "the body is not declared as JSON")},
    ),
    ErrorExample(
        416,
        "The requested `Range` is outside of the file.",
        {"beyond its end": Problem.of("range-not-satisfiable", str(NoSuchRange(9912422)))},
    ),
    ErrorExample(
        421,
        "The host name of the request is not allowed.",
        {
            "no such name": Problem.of(
                "host-not-allowed",
                "the host name 'rebind.test' is not allowed: use localhost or the IP address of the service, or add "
                "the name to ACGAN_ALLOWED_HOSTS and restart the service",
            )
        },
    ),
    ErrorExample(
        422,
        "A field, parameter or header is invalid; `errors` lists each error.",
        {"field": Problem.of("invalid-input", f"{EPOCHS.field}: {EPOCHS.message}", [EPOCHS])},
    ),
    ErrorExample(
        429,
        "Too many jobs wait, or you send too many requests. Retry after the seconds in `Retry-After`.",
        {"queue": Problem.of("queue-full", str(QueueFull(100)))},
    ),
    ErrorExample(
        431,
        "The headers are too many or too long.",
        {
            "headers": Problem.of(
                "headers-too-long",
                "the headers are too many or too long: send at most 100 headers, and 16384 bytes with the request line",
            )
        },
    ),
    ErrorExample(
        501,
        "The service is installed without a library that the format needs.",
        {
            "no ONNX": Problem.of(
                "extra-missing",
                "the format onnx needs libraries that are not installed (onnxscript): pip install 'acgan[onnx]'",
            )
        },
    ),
    ErrorExample(
        503,
        "A part of the service is unavailable or overloaded. Retry after the seconds in `Retry-After`.",
        {
            "no Redis": Problem.of("redis-unavailable", GONE),
            "crowded": Problem.of("too-many-connections", "the service has too many connections: retry later"),
        },
    ),
)
