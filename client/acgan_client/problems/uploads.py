"""An exception class for each kind of problem with an uploaded file."""

from acgan_client.errors import InvalidInput, Refused, Unavailable


class UploadTooLarge(InvalidInput):
    """The uploaded file is larger than the service allows."""

    code = "upload-too-large"


class UploadTimeout(Refused):
    """The upload of a file stopped before its end."""

    code = "upload-timeout"


class UnsupportedFileType(InvalidInput):
    """The body is not declared as a file of a supported type."""

    code = "unsupported-file-type"


class InvalidUpload(InvalidInput):
    """The uploaded file is damaged, or of another kind than the request needs."""

    code = "invalid-upload"


class GeneratorRefused(InvalidInput):
    """The quality gate refuses the uploaded generator."""

    code = "generator-refused"


class TooManyUploads(Unavailable):
    """The service receives as many files as it may at a time."""

    code = "too-many-uploads"
