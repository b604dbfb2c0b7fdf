"""The reference pipeline on disk: skops where our allow-list can hold it, else a pickle.

skops files name the types that they are made of, and skops refuses to build one it does not trust.
Which types to trust is decided here and nowhere else: a list that came with the file would let the
file decide.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyfunc_packaging.errors import (
    CodeRefused,
    ConflictingModule,
    MalformedBundle,
    MissingDependency,
    NotPortable,
)
from pyfunc_packaging.harmless import find_harm
from pyfunc_packaging.loader import import_from_source

SKOPS_FILE = "model.skops"
PICKLE_FILE = "model.pkl"

#: What stands in a bundle for an empty Python file: KServe skips empty objects.
EMPTY_MODULE = b"# this file was empty\n"

#: Types beyond skops' own defaults (scikit-learn's public estimators, numpy arrays, plain Python)
#: that a skops file may hold. Every one only holds data or computes: none reads files, opens
#: connections or runs code that it is given.
ALLOWED_TYPES: frozenset[str] = frozenset(
    {
        "numpy.dtype",
        "numpy.exp",
        "numpy.expm1",
        "numpy.log",
        "numpy.log10",
        "numpy.log1p",
        "numpy.log2",
        "numpy.mean",
        "numpy.sqrt",
        "numpy.square",
        "pyfunc_packaging.features.ColumnFeatures",
        "pyfunc_packaging.features.PlainValues",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "scipy.interpolate._bsplines.BSpline",
        "scipy.interpolate._bsplines._BSpline",
        "scipy.sparse._csr.csr_matrix",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogLink",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.HalfTweedieLoss",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.DotProduct",
        "sklearn.gaussian_process.kernels.Matern",
        "sklearn.gaussian_process.kernels.PairwiseKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.RationalQuadratic",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.feature_selection._mutual_info.mutual_info_classif",
        "sklearn.feature_selection._mutual_info.mutual_info_regression",
        "sklearn.impute._iterative._ImputerTriplet",
        "sklearn.metrics._classification.accuracy_score",
        "sklearn.metrics._classification.balanced_accuracy_score",
        "sklearn.metrics._classification.f1_score",
        "sklearn.metrics._classification.log_loss",
        "sklearn.metrics._dist_metrics.ChebyshevDistance64",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.metrics._dist_metrics.MinkowskiDistance64",
        "sklearn.metrics._regression.max_error",
        "sklearn.metrics._regression.mean_absolute_error",
        "sklearn.metrics._regression.mean_absolute_percentage_error",
        "sklearn.metrics._regression.mean_squared_error",
        "sklearn.metrics._regression.mean_squared_log_error",
        "sklearn.metrics._regression.median_absolute_error",
        "sklearn.metrics._regression.r2_score",
        "sklearn.metrics._regression.root_mean_squared_error",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.metrics._scorer._Scorer",
        "sklearn.model_selection._split.GroupKFold",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.RepeatedKFold",
        "sklearn.model_selection._split.ShuffleSplit",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.model_selection._split.TimeSeriesSplit",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
    }
)

#: Modules that everything on the allow-list lives in.
_SKOPS_MODULES = ("numpy", "scipy", "sklearn", "skops")


@dataclass(frozen=True)
class Stored:
    """How the reference was written, for the manifest.

    Parameters
    ----------
    file : str
        Name of the file in ``data/``.
    serialization : str
        ``"skops"`` or ``"pickle"``.
    reason : str or None
        Why it is a pickle; None for skops.
    modules : tuple of str
        Modules that the file refers to.
    """

    file: str
    serialization: str
    reason: str | None
    modules: tuple[str, ...]


def save_reference(model: Any, directory: Path) -> Stored:
    """Write the fitted model into ``directory``.

    Parameters
    ----------
    model : estimator
    directory : pathlib.Path

    Returns
    -------
    Stored

    Raises
    ------
    NotPortable
        If neither skops nor cloudpickle can write it.
    """
    import skops.io
    from skops.io.exceptions import UnsupportedTypeException

    try:
        content = skops.io.dumps(model)
        untrusted = set(skops.io.get_untrusted_types(data=content)) - ALLOWED_TYPES
        if untrusted:
            types = ", ".join(sorted(untrusted))
            reason = f"holds types that are not on the allow-list: {types}"
        else:
            # what skops wrote without complaint it may yet fail to read
            harm = find_harm(skops.io.loads(content, trusted=sorted(ALLOWED_TYPES)))
            reason = f"holds {harm}"
    except UnsupportedTypeException as error:
        reason = f"skops cannot hold it: {error}"
    except Exception as error:  # noqa: BLE001 - skops raises whatever an object's state provokes
        reason = f"skops failed on it: {type(error).__name__}: {error}"
    else:
        if not untrusted and harm is None:  # a disk that is full is no reason to pickle
            (directory / SKOPS_FILE).write_bytes(content)
            return Stored(SKOPS_FILE, "skops", None, _SKOPS_MODULES)
    return _save_pickle(model, directory, reason)


def _save_pickle(model: Any, directory: Path, reason: str) -> Stored:
    import cloudpickle

    from pyfunc_packaging.modules import modules_in_pickle

    try:
        content = cloudpickle.dumps(model, protocol=5)
    except Exception as error:  # pickling runs the objects' own code, which may raise anything
        raise NotPortable(
            f"the model cannot be written to a file: {type(error).__name__}: {error}. Look for an"
            f" open file, a lock, a connection or a generator among its attributes, and let the"
            f" object open it when it is first used"
        ) from error
    (directory / PICKLE_FILE).write_bytes(content)
    return Stored(PICKLE_FILE, "pickle", reason, modules_in_pickle(content))


def load_reference(directory: Path, *, code: Path | None = None, pickles: bool = True) -> Any:
    """Load the fitted model that :func:`save_reference` wrote.

    Parameters
    ----------
    directory : pathlib.Path
        The bundle's ``data/`` folder.
    code : pathlib.Path, optional
        The bundle's folder of Python modules, which a pickle may refer to.
    pickles : bool
        Whether a pickle may be loaded, which runs whatever code its author put there.

    Returns
    -------
    estimator

    Raises
    ------
    MissingDependency
        If a library that the model needs is not installed.
    ConflictingModule
        If Python finds another module than the one in the bundle.
    MalformedBundle
        If the file holds a type that is not on the allow-list, or cannot be read.
    CodeRefused
        If there is a pickle only, and none may be loaded.
    """
    skops_file, pickle_file = directory / SKOPS_FILE, directory / PICKLE_FILE
    try:
        if skops_file.is_file():
            return _load_skops(skops_file)
        if pickle_file.is_file():
            if not pickles:
                raise CodeRefused(f"{pickle_file}: a pickle, which runs code when it is loaded")
            return _load_pickle(pickle_file, code)
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"the model needs the Python module {error.name!r}, which is not installed here;"
            f" install what the bundle's requirements.txt lists, or mlserver-pyfunc[pyfunc], or use"
            f" the image whose tag ends in -full"
        ) from error
    raise MalformedBundle(f"{directory}: neither {SKOPS_FILE} nor {PICKLE_FILE} is there")


def _load_skops(path: Path) -> Any:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        model = skops.io.load(path, trusted=sorted(ALLOWED_TYPES))
        harm = find_harm(model)
    except UntrustedTypesFoundException as error:
        raise MalformedBundle(
            f"{path}: holds types that are not on the allow-list of this version ({error});"
            f" package the model again, or upgrade mlserver-pyfunc"
        ) from error
    except ModuleNotFoundError:
        raise
    except Exception as error:  # skops raises whatever the content of the file provokes
        raise MalformedBundle(f"{path}: cannot be read: {type(error).__name__}: {error}") from error
    if harm is not None:
        raise MalformedBundle(f"{path}: holds {harm}; package the model again")
    return model


def _check_conflict(entry: Path) -> None:
    """Refuse to load when a module of the bundle would not be the one that Python finds."""
    spec = importlib.util.find_spec(entry.stem)
    origin = Path(spec.origin) if spec is not None and spec.origin else None
    if origin is None:
        return  # the pickle will say what is missing
    files = [entry] if entry.is_file() else sorted(entry.rglob("*.py"))
    for file in files:
        found = origin if entry.is_file() else origin.parent / file.relative_to(entry)
        content = found.read_bytes() if found.is_file() else None
        if content is not None and (content or EMPTY_MODULE) == file.read_bytes():
            continue
        raise ConflictingModule(
            f"{file}: the model was packaged with this module, and Python finds another one of the"
            f" same name, {found}; load the bundle in a process of its own, without that one"
        )


def _load_pickle(path: Path, code: Path | None) -> Any:
    import cloudpickle

    if code is not None:
        import_from_source(code)
        if str(code) not in sys.path:
            # at the end: a module of the bundle must never stand in for an installed one
            sys.path.append(str(code))
            importlib.invalidate_caches()
        for entry in sorted(code.iterdir()):
            own = not entry.name.startswith("pyfunc_bundle_")
            if own and entry.stem not in sys.stdlib_module_names:
                _check_conflict(entry)
    try:
        with path.open("rb") as file:
            return cloudpickle.load(file)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # unpickling runs the objects' own code, which may raise anything
        raise MalformedBundle(f"{path}: cannot be read: {type(error).__name__}: {error}") from error
