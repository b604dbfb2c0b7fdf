"""Every error this project raises on purpose, named for the situation its reader is in.

A message says what was expected, what was found and what to do next. The classes carry no status
codes: the runtime has one table that maps them to HTTP and gRPC.
"""


class PyFuncError(Exception):
    """Base class of all errors that this project raises on purpose.

    Examples
    --------
    >>> issubclass(BundleNotFound, PyFuncError)
    True
    """


# --- packaging: what a data scientist can get wrong -------------------------------------------


class UnsuitableModel(PyFuncError, ValueError):
    """The model given to ``package_model`` cannot be packaged: unfitted, or failing on its rows."""


class UnsuitableData(PyFuncError, ValueError):
    """The rows given to ``package_model`` or ``predict`` do not fit the model or its signature."""


class NotPortable(PyFuncError, ValueError):
    """The model works here, but a part of it cannot be carried to another process."""


class BundleExists(PyFuncError, FileExistsError):
    """Something is already at the path where a bundle should be written."""


# --- reading a bundle -------------------------------------------------------------------------


class BundleError(PyFuncError):
    """A bundle cannot be used. Subclasses say whether it is absent, malformed or damaged."""


class BundleNotFound(BundleError, FileNotFoundError):
    """There is no bundle, nor any MLflow model, at the given path."""


class MalformedBundle(BundleError):
    """The directory is an MLflow model, but its description does not make sense to us."""


class DamagedBundle(BundleError):
    """A file of the bundle is missing or is not the file that was packaged."""


class WrongPredictions(BundleError):
    """The model loads, but does not predict its golden rows as it did when it was packaged."""


class MissingSignature(BundleError):
    """The MLflow model has no signature, so nothing says what it takes and returns."""


class MissingDependency(PyFuncError, ImportError):
    """A library that this step needs is not installed here."""


# --- serving ----------------------------------------------------------------------------------


class InvalidRequest(PyFuncError, ValueError):
    """A request does not match the model's signature. The client has to change the request."""


class ModelFailure(PyFuncError, RuntimeError):
    """The model raised, or returned something that its signature does not allow."""
