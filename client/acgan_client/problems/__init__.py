"""An exception class for each kind of problem, by the code at the end of its `type`."""

from acgan_client.errors import FAMILIES, Conflict, InvalidInput, NotAllowed, NotFound, Refused, Unavailable
from acgan_client.problems.data import ClassNotFound as ClassNotFound
from acgan_client.problems.data import DatasetFileNotFound as DatasetFileNotFound
from acgan_client.problems.data import DatasetNotFound as DatasetNotFound
from acgan_client.problems.data import EvaluationNotFound as EvaluationNotFound
from acgan_client.problems.data import NotDigits as NotDigits
from acgan_client.problems.data import TrainingDataNameInvalid as TrainingDataNameInvalid
from acgan_client.problems.data import TrainingDataNotFound as TrainingDataNotFound
from acgan_client.problems.data import TrainingDataReserved as TrainingDataReserved
from acgan_client.problems.drawing import NotVerified as NotVerified
from acgan_client.problems.drawing import Overloaded as Overloaded
from acgan_client.problems.drawing import StyleBankNotReady as StyleBankNotReady
from acgan_client.problems.uploads import GeneratorRefused as GeneratorRefused
from acgan_client.problems.uploads import InvalidUpload as InvalidUpload
from acgan_client.problems.uploads import TooManyUploads as TooManyUploads
from acgan_client.problems.uploads import UnsupportedFileType as UnsupportedFileType
from acgan_client.problems.uploads import UploadTimeout as UploadTimeout
from acgan_client.problems.uploads import UploadTooLarge as UploadTooLarge


class MalformedRequest(InvalidInput):
    """The request is not valid HTTP/1.1, or does not have exactly one host."""

    code = "malformed-request"


class UnreadableBody(InvalidInput):
    """The body cannot be read."""

    code = "unreadable-body"


class PathNotFound(NotFound):
    """There is nothing at this path."""

    code = "path-not-found"


class MethodNotAllowed(InvalidInput):
    """The path does not support this method."""

    code = "method-not-allowed"


class RequestTimeout(Refused):
    """The request, or its body, did not arrive in time."""

    code = "request-timeout"


class BodyTooLong(InvalidInput):
    """The body is too long."""

    code = "body-too-long"


class UnsupportedMediaType(InvalidInput):
    """The body is not declared as JSON."""

    code = "unsupported-media-type"


class HeadersTooLong(InvalidInput):
    """The headers are too many or too long."""

    code = "headers-too-long"


class KeyRequired(NotAllowed):
    """The service requires a key, and the request has none."""

    code = "key-required"


class KeyUnknown(NotAllowed):
    """The key of the request is unknown."""

    code = "key-unknown"


class ForeignOrigin(NotAllowed):
    """A web page of another origin requested a change."""

    code = "foreign-origin"


class HostNotAllowed(NotAllowed):
    """The host name of the request is not allowed."""

    code = "host-not-allowed"


class WebhookNotAllowed(NotAllowed):
    """The service sends no webhooks, or none to this host and port."""

    code = "webhook-not-allowed"


class RateLimited(Unavailable):
    """The caller sends too many requests."""

    code = "rate-limited"


class JobNotFound(NotFound):
    """No job has this id."""

    code = "job-not-found"


class InvalidTransition(Conflict):
    """The state of the job does not allow the operation."""

    code = "invalid-transition"


class RecordNotUnderstood(Conflict):
    """Another version wrote the job's record."""

    code = "record-not-understood"


class StateDeleted(Conflict):
    """The job's resume state was deleted to stay within the storage limit."""

    code = "state-deleted"


class StateNotUnderstood(Conflict):
    """Another version saved the job's resume state."""

    code = "state-not-understood"


class IdempotencyConflict(InvalidInput):
    """The `Idempotency-Key` was used for a different request."""

    code = "idempotency-conflict"


class QueueFull(Unavailable):
    """Too many jobs wait."""

    code = "queue-full"


class QueueShareUsed(Unavailable):
    """Too many jobs of this caller wait."""

    code = "queue-share-used"


class TooManyStreams(Unavailable):
    """Too many clients, or too many of this caller, follow jobs."""

    code = "too-many-streams"


class CheckpointNotFound(NotFound):
    """No checkpoint has this id."""

    code = "checkpoint-not-found"


class CheckpointRefused(Conflict):
    """The checkpoint failed the quality gate and is not served."""

    code = "checkpoint-refused"


class CheckpointNotUnderstood(Conflict):
    """Another version wrote the checkpoint."""

    code = "checkpoint-not-understood"


class CheckpointDamaged(Unavailable):
    """A file of the checkpoint is missing or damaged."""

    code = "checkpoint-damaged"


class InvalidWeights(Unavailable):
    """The file of the checkpoint does not hold the weights of a generator."""

    code = "invalid-weights"


class NothingUsable(Unavailable):
    """The published generators are damaged or cannot be read."""

    code = "nothing-usable"


class NothingPublished(Unavailable):
    """No generator has been published yet."""

    code = "nothing-published"


class TooManyArchives(Unavailable):
    """Too many archives are being downloaded."""

    code = "too-many-archives"


class RangeNotSatisfiable(InvalidInput):
    """The requested `Range` is outside of the file."""

    code = "range-not-satisfiable"


class NotAcceptable(InvalidInput):
    """The service supports none of the formats in `Accept`."""

    code = "not-acceptable"


class PreconditionFailed(Conflict):
    """The serving policy changed after the version in `If-Match`."""

    code = "precondition-failed"


class InUse(Conflict):
    """The request would delete something in use."""

    code = "in-use"


class StoreFull(Conflict):
    """The storage limit leaves no room for new work."""

    code = "store-full"


class StoreUnavailable(Unavailable):
    """The checkpoints cannot be read or written."""

    code = "store-unavailable"


class DiskFull(Unavailable):
    """The disk of the store has no room for the uploaded file."""

    code = "disk-full"


class FileInvalid(Unavailable):
    """A record of the store is damaged, or another version wrote it."""

    code = "file-invalid"


class RedisUnavailable(Unavailable):
    """Redis, which stores the jobs, does not answer or refuses commands."""

    code = "redis-unavailable"


class RedisUnsafe(Unavailable):
    """Redis is configured to delete jobs when its memory is full."""

    code = "redis-unsafe"


class RedisNearlyFull(Unavailable):
    """Redis has memory left only for jobs that are accepted already."""

    code = "redis-nearly-full"


class TooManyConnections(Unavailable):
    """The service has too many connections."""

    code = "too-many-connections"


class InternalError(Refused):
    """An error in the service: its log has the details."""

    code = "internal-error"


class ReplicaLost(Unavailable):
    """The replica that handled the request was lost; it may have been carried out."""

    code = "replica-lost"


class NoReplica(Unavailable):
    """No replica of the API is ready."""

    code = "no-replica"


class ResponseTimeout(Unavailable):
    """The response took too long to begin."""

    code = "response-timeout"


class CheckpointFileNotFound(NotFound):
    """The checkpoint has no such file."""

    code = "checkpoint-file-not-found"


class NotConvertible(Conflict):
    """The format has no place for this network."""

    code = "not-convertible"


class ExtraMissing(Refused):
    """The service is installed without a library that the format needs."""

    code = "extra-missing"


class ConversionFailed(Unavailable):
    """The process that converts a network ended without a result."""

    code = "conversion-failed"


FAMILY_CODES = {kind.code: kind for kind in (Conflict, InvalidInput, NotAllowed, NotFound, Unavailable)}
PROBLEMS: dict[str, type[Refused]] = FAMILY_CODES | {
    kind.code: kind for family in (Refused, *FAMILY_CODES.values()) for kind in family.__subclasses__() if kind.code
}


def class_of(status: int, code: str) -> type[Refused]:
    """Return the class for a problem. A class of another family than the status has is not used."""
    family = FAMILIES.get(status, Refused)
    kind = PROBLEMS.get(code, family)
    return kind if issubclass(kind, family) else family
