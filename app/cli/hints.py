"""What to do about an error, with the names of commands and options; by the code of the error."""

HINTS = {
    "checkpoint-file-not-found": "`acgan checkpoints --json` lists the files",
    "checkpoint-not-found": "see `acgan checkpoints`",
    "dataset-not-found": "see `acgan datasets`",
    "job-not-found": "see `acgan jobs`",
    "key-required": "pass it as --key KEY or in ACGAN_KEY",
    "key-unknown": "pass another as --key KEY or in ACGAN_KEY",
    "nothing-published": "start a run with `acgan start`, and retry after its first epoch",
    "state-deleted": "repeat the run with `acgan retry`",
    "state-not-understood": "`acgan retry` runs the recipe again",
    "training-data-not-found": "see `acgan training-data list`",
    "training-data-unavailable": "the option is --dataset printed",
}


def with_hint(code: str, message: str) -> str:
    """Return the message of an error with the hint for its code, if there is one."""
    if code not in HINTS:
        return message
    message = message.rstrip(". ")
    return f"{message}: {HINTS[code]}"
