"""Every kind of error response: the code at the end of a problem's `type`, its status, its meaning, and a hint.

The first four rows are the families of models/errors.py. An error is answered with the row of its own class, or else
with that of its nearest base class that has one: each row below with another status is an exception to its family.
"""

from typing import NamedTuple


class ProblemType(NamedTuple):
    status: int
    meaning: str
    hint: str = ""  # what to do, in terms of this API, with the error's data in braces


PREFIX = "/problems/"
SEND_KEY = "send `Authorization: Bearer KEY`. The operator of the service makes keys with `acgan key NAME`"

PROBLEMS = {
    "not-found": ProblemType(404, "Something that the request names does not exist."),
    "conflict": ProblemType(409, "The state of something that exists does not allow the request."),
    "invalid-input": ProblemType(422, "A field, parameter, header or body is invalid; `errors` lists each error."),
    "unavailable": ProblemType(503, "A part of the service is missing, broken or overloaded."),
    # Requests that cannot be read.
    "malformed-request": ProblemType(400, "The request is not valid HTTP/1.1, or does not have exactly one host."),
    "unreadable-body": ProblemType(400, "The body cannot be read.", 'send a JSON object such as {{"epochs": 5}}'),
    "path-not-found": ProblemType(404, "There is nothing at this path.", "GET /docs lists all paths"),
    "method-not-allowed": ProblemType(405, "The path does not support this method.", "GET /docs lists the methods"),
    "request-timeout": ProblemType(408, "The request, or its body, did not arrive in time."),
    "body-too-long": ProblemType(
        413, "The body is too long.", "a training request is a small JSON object, see GET /docs"
    ),
    "unsupported-media-type": ProblemType(
        415,
        "The body is not declared as JSON.",
        'send a JSON object such as {{"epochs": 5}}, with the header Content-Type: application/json',
    ),
    "upload-too-large": ProblemType(413, "The uploaded file is larger than the service allows."),
    "upload-timeout": ProblemType(408, "The upload of a file stopped before its end."),
    "unsupported-file-type": ProblemType(415, "The body is not declared as a file of a supported type."),
    "invalid-upload": ProblemType(422, "The uploaded file is damaged, or of another kind than the request needs."),
    "generator-refused": ProblemType(422, "The quality gate refuses the uploaded generator."),
    "too-many-uploads": ProblemType(503, "The service receives as many files as it may at a time."),
    "headers-too-long": ProblemType(431, "The headers are too many or too long."),
    # Callers.
    "key-required": ProblemType(
        401,
        "The service requires a key, and the request has none.",
        SEND_KEY,
    ),
    "key-unknown": ProblemType(
        401,
        "The key of the request is unknown.",
        SEND_KEY,
    ),
    "not-allowed": ProblemType(403, "The role of the key does not allow it, or the job belongs to another key."),
    "webhook-not-allowed": ProblemType(
        403,
        "The service sends no webhooks, or none to this host and port.",
        "its operator allows hosts with ACGAN_WEBHOOK_HOSTS",
    ),
    "foreign-origin": ProblemType(403, "A web page of another origin requested a change."),
    "host-not-allowed": ProblemType(421, "The host name of the request is not allowed."),
    "rate-limited": ProblemType(429, "The caller sends too many requests."),
    # Jobs.
    "job-not-found": ProblemType(404, "No job has this id.", "see GET /jobs"),
    "invalid-transition": ProblemType(409, "The state of the job does not allow the operation."),
    "record-not-understood": ProblemType(409, "Another version wrote the job's record."),
    "state-deleted": ProblemType(
        409,
        "The job's resume state was deleted to stay within the storage limit.",
        "repeat the run with POST /jobs/{job}/retry",
    ),
    "state-not-understood": ProblemType(
        409, "Another version saved the job's resume state.", "POST /jobs/{job}/retry runs the recipe again"
    ),
    "idempotency-conflict": ProblemType(422, "The `Idempotency-Key` was used for a different request."),
    "queue-full": ProblemType(429, "Too many jobs wait."),
    "queue-share-used": ProblemType(429, "Too many jobs of this caller wait."),
    "too-many-streams": ProblemType(
        503, "Too many clients, or too many of this caller, follow jobs.", "poll GET /jobs/{job} instead"
    ),
    # Checkpoints, data sets and digits.
    "checkpoint-not-found": ProblemType(404, "No checkpoint has this id.", "see GET /checkpoints"),
    "checkpoint-file-not-found": ProblemType(
        404, "The checkpoint has no such file.", "see GET /checkpoints/{checkpoint}"
    ),
    "checkpoint-refused": ProblemType(409, "The checkpoint failed the quality gate and is not served."),
    "checkpoint-not-understood": ProblemType(409, "Another version wrote the checkpoint."),
    "checkpoint-damaged": ProblemType(503, "A file of the checkpoint is missing or damaged."),
    "invalid-weights": ProblemType(503, "The file of the checkpoint does not hold the weights of a generator."),
    "not-digits": ProblemType(
        409,
        "The checkpoint or the data set draws other classes than the ten digits.",
        "draw its images with GET /images/{dataset}?checkpoint={checkpoint}",
    ),
    "class-not-found": ProblemType(404, "The data set has no class with this name or label."),
    "nothing-usable": ProblemType(503, "The published generators are damaged or cannot be read."),
    "nothing-published": ProblemType(
        503, "No generator has been published yet.", "start a run with POST /train and retry after its first epoch"
    ),
    "training-data-not-found": ProblemType(404, "No training data has this name or version.", "see GET /training-data"),
    "training-data-reserved": ProblemType(
        409, "The name is that of built-in training data, which is neither replaced nor removed."
    ),
    "training-data-name-invalid": ProblemType(422, "This cannot be a name of training data."),
    "dataset-not-found": ProblemType(404, "No generated data set has this id.", "see GET /datasets"),
    "evaluation-not-found": ProblemType(
        404, "No evaluation has this id, or it has no result yet.", "see GET /evaluations"
    ),
    "dataset-file-not-found": ProblemType(404, "The data set has no such file, or not yet.", "see GET /datasets/{job}"),
    "too-many-archives": ProblemType(
        503,
        "Too many archives are being downloaded.",
        "retry later, or download each file that GET /datasets/{job} lists",
    ),
    "range-not-satisfiable": ProblemType(416, "The requested `Range` is outside of the file."),
    "not-acceptable": ProblemType(406, "The service supports none of the formats in `Accept`."),
    "not-convertible": ProblemType(409, "The format has no place for this network."),
    "extra-missing": ProblemType(
        501,
        "The service is installed without a library that the format needs.",
        "it is missing on the machine of the service: choose another format, or inform the operator",
    ),
    "conversion-failed": ProblemType(503, "The process that converts a network ended without a result."),
    "not-verified": ProblemType(409, "Too few digits can be verified, or no judge exists for them."),
    "precondition-failed": ProblemType(
        412, "The serving policy changed after the version in `If-Match`.", "see GET /serving"
    ),
    "in-use": ProblemType(409, "The request would delete something in use."),
    # The service.
    "store-full": ProblemType(409, "The storage limit leaves no room for new work."),
    "store-unavailable": ProblemType(503, "The checkpoints cannot be read or written."),
    "disk-full": ProblemType(503, "The disk of the store has no room for the uploaded file."),
    "file-invalid": ProblemType(503, "A record of the store is damaged, or another version wrote it."),
    "redis-unavailable": ProblemType(503, "Redis, which stores the jobs, does not answer or refuses commands."),
    "redis-unsafe": ProblemType(503, "Redis is configured to delete jobs when its memory is full."),
    "redis-nearly-full": ProblemType(503, "Redis has memory left only for jobs that are accepted already."),
    "overloaded": ProblemType(503, "Too many digits or animations wait to be drawn."),
    "style-bank-not-ready": ProblemType(
        503,
        "The styles of a generator's digits are being measured.",
        "a number with style=latent needs none",
    ),
    "too-many-connections": ProblemType(503, "The service has too many connections."),
    "internal-error": ProblemType(500, "An error in the service: its log has the details."),
    # Answers of the proxy of docker-compose.scale.yml only (deploy/haproxy/haproxy.cfg).
    "replica-lost": ProblemType(502, "The replica that handled the request was lost; it may have been carried out."),
    "no-replica": ProblemType(503, "No replica of the API is ready."),
    "response-timeout": ProblemType(504, "The response took too long to begin."),
}
