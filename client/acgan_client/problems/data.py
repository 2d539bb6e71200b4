"""An exception class for each kind of problem with training data, generated data sets, and classes."""

from acgan_client.errors import Conflict, InvalidInput, NotFound


class TrainingDataNotFound(NotFound):
    """No training data has this name or version."""

    code = "training-data-not-found"


class TrainingDataReserved(Conflict):
    """The name is that of built-in training data, which is neither replaced nor removed."""

    code = "training-data-reserved"


class TrainingDataNameInvalid(InvalidInput):
    """This cannot be a name of training data."""

    code = "training-data-name-invalid"


class ClassNotFound(NotFound):
    """The data set has no class with this name or label."""

    code = "class-not-found"


class NotDigits(Conflict):
    """The checkpoint or the data set draws other classes than the ten digits."""

    code = "not-digits"


class DatasetNotFound(NotFound):
    """No generated data set has this id."""

    code = "dataset-not-found"


class DatasetFileNotFound(NotFound):
    """The data set has no such file, or not yet."""

    code = "dataset-file-not-found"


class EvaluationNotFound(NotFound):
    """No evaluation has this id, or it has no result yet."""

    code = "evaluation-not-found"
