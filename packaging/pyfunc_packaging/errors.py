"""Every error this project raises on purpose, named for the situation its reader is in.

A message says what was expected, what was found and what to do next. The classes carry no status
codes: the runtime has one table that maps them to HTTP and gRPC.
"""


class PyFuncError(Exception):
    r"""Base class of all errors that this project raises on purpose.

    Examples
    --------
    >>> issubclass(BundleNotFound, PyFuncError)
    True
    >>> print(BundleNotFound("a\x1b[8m\nb: no such directory"))
    a\x1b[8m\nb: no such directory
    """

    #: Whether a message is one line whatever it quotes: names of files hold anything.
    _one_line = False

    def __str__(self) -> str:
        """The message, without what would steer a terminal or forge lines of a log."""
        return escape(super().__str__(), keep="" if self._one_line else "\n\t")


def escape(text: str, *, keep: str = "") -> str:
    r"""A text in which nothing is unprintable.

    Parameters
    ----------
    text : str
    keep : str
        Characters to leave as they are.

    Examples
    --------
    >>> print(escape("naïve\x1b[8m"))
    naïve\x1b[8m
    """
    if text.isprintable():
        return text
    return "".join(
        each
        if each.isprintable() or each in keep
        else each.encode("unicode_escape", "surrogatepass").decode("ascii")
        for each in text
    )


# --- packaging: what a data scientist can get wrong -------------------------------------------


class UnsuitableModel(PyFuncError, ValueError):
    """The model given to ``package_model`` cannot be packaged: unfitted, or failing on its rows."""


class UnsuitableData(PyFuncError, ValueError):
    """The rows given to ``package_model`` or ``predict`` do not fit the model or its signature."""


class ValuesRefused(UnsuitableData):
    """The model itself refuses these values: unseen texts, numbers too large, and the like."""


class InvalidArgument(PyFuncError, ValueError):
    """An argument of one of our functions is not what it can be."""


class NotPortable(PyFuncError, ValueError):
    """The model works here, but a part of it cannot be carried to another process."""


class BundleExists(PyFuncError, FileExistsError):
    """Something is already at the path where a bundle should be written."""


class CannotWrite(PyFuncError, OSError):
    """The disk is full, or it does not let us write where the bundle should be."""


class NotCompilable(PyFuncError, ValueError):
    """A step of the pipeline cannot be compiled, or its graph is not equal to it.

    Parameters
    ----------
    step : str
        The step to blame, with the steps that it is in.
    reason : str
    """

    def __init__(self, step: str, reason: str = "") -> None:
        super().__init__(": ".join(filter(None, [step, reason])))
        self.step = step
        self.reason = reason


# --- reading a bundle -------------------------------------------------------------------------


class BundleError(PyFuncError):
    """A bundle cannot be used. Subclasses say whether it is absent, malformed or damaged."""

    _one_line = True


class BundleNotFound(BundleError, FileNotFoundError):
    """There is no bundle, nor any MLflow model, at the given path."""


class MalformedBundle(BundleError):
    """The directory is an MLflow model, but its description does not make sense to us."""


class DamagedBundle(BundleError):
    """A file of the bundle is missing or is not the file that was packaged."""


class UnsignedBundle(BundleError):
    """A signature is asked for, and the directory holds none."""


class MalformedSignature(BundleError):
    """``model.sig`` is no signature of a form that we know."""


class UntrustedSignature(BundleError):
    """The signature was made with a key or a certificate that is not among those trusted here."""


class TamperedBundle(BundleError):
    """The files, or the signature itself, are not those that were signed."""


class CodeRefused(BundleError):
    """The model can only be loaded by running code from it, which is not allowed here."""


class WrongPredictions(BundleError):
    """The model loads, but does not predict its golden rows as it did when it was packaged."""


class ConflictingModule(BundleError):
    """A module that the bundle carries is found elsewhere, with another content."""


class IncompatibleVersions(BundleError):
    """The stored model was made with another minor version of a library than is installed here."""


class MissingSignature(BundleError):
    """The MLflow model has no signature, so nothing says what it takes and returns."""


class NotSupported(PyFuncError):
    """Something is asked for that this version cannot do."""


class InvalidSetting(PyFuncError, ValueError):
    """An environment variable of ours is set to something that it cannot be."""


class MissingDependency(PyFuncError, ImportError):
    """A library that this step needs is not installed here."""


# --- deploying: between the registry, the storage and KServe ----------------------------------


class ResolveError(PyFuncError):
    """A model URI cannot be followed to the directory that holds the model's files."""

    _one_line = True


class InvalidModelUri(ResolveError, ValueError):
    """The model URI has no form that we know."""


class RegistryUnreachable(ResolveError):
    """No MLflow service answers there, or what answers is none."""


class RegistryDenied(ResolveError):
    """The MLflow service wants credentials, or better ones."""


class ModelNotFound(ResolveError, LookupError):
    """The MLflow service knows no such model, version, alias, run or logged model."""


class ArtifactRootNeeded(ResolveError):
    """MLflow proxies the artifacts and does not say where they are; the caller has to."""


class UnsupportedStorage(ResolveError):
    """The files are where neither we nor KServe's storage initializer can fetch them."""


class StorageUnreachable(ResolveError):
    """No S3 service answers there, or what answers is none."""


class StorageDenied(ResolveError):
    """The S3 service wants credentials, or better ones."""


class BucketNotFound(ResolveError, LookupError):
    """The S3 service has no such bucket."""


class FilesMissing(ResolveError, LookupError):
    """The model is known, but its files, or some of them, are not in the storage."""


class FilesChanged(ResolveError):
    """The files in the storage are not those that were registered."""


class InvalidKey(PyFuncError, ValueError):
    """A file that should hold a key or a certificate holds none that can be used."""

    _one_line = True


class OutputExists(PyFuncError, FileExistsError):
    """Something is already at the path where a directory should be written."""


class InvalidDeployment(PyFuncError, ValueError):
    """An InferenceService with these settings would not do what they say."""


# --- serving ----------------------------------------------------------------------------------


class InvalidRequest(PyFuncError, ValueError):
    """A request does not match the model's signature. The client has to change the request."""


class RequestTooLarge(InvalidRequest):
    """A request has more bytes, rows or inputs than the server takes."""


class NotAnswered(PyFuncError):
    """The server gave a request up, which may be a good one. Subclasses say why."""


class ServerBusy(NotAnswered):
    """More requests wait than the server lets wait, or its predicts hang."""


class PredictTimeout(NotAnswered, TimeoutError):
    """The model took longer over a request than it may."""


class ClientGone(NotAnswered):
    """The client closed its connection before its request was looked at."""


class ServerNotStarted(PyFuncError, RuntimeError):
    """A server that was started to try a bundle is not ready, or has ended."""


class ModelFailure(PyFuncError, RuntimeError):
    """The model raised, or returned something that its signature does not allow."""
