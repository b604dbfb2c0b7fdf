"""What a classifier returns: labels, and probabilities where it has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier

from pyfunc_packaging.errors import InvalidArgument, UnsuitableModel
from pyfunc_packaging.infer import infer_outputs
from pyfunc_packaging.schema import Column, Tensor

#: Names of the outputs, whatever the target is called.
LABEL = "label"
PROBABILITY = "probability"


def has_probabilities(model: Any) -> bool:
    """Whether a model is a classifier that says how likely its labels are."""
    return classifies(model) and hasattr(model, "predict_proba")


def classifies(model: Any) -> bool:
    """Whether a model is a classifier."""
    # what is no estimator of scikit-learn has no tags to ask for
    return hasattr(model, "__sklearn_tags__") and is_classifier(model)


def classifier_outputs(
    model: Any, predictions: npt.NDArray[Any], probabilities: Any, *, name: str | None = None
) -> tuple[Column | Tensor, ...] | None:
    """Describe what a classifier of one target returns.

    Parameters
    ----------
    model : estimator
    predictions : ndarray of shape (n,) or (n, 1)
        What it predicts for some rows.
    probabilities : ndarray of shape (n, k) or None
        What ``predict_proba`` returns for them, if the model has it.
    name : str, optional
        Of the labels, instead of ``"label"``.

    Returns
    -------
    tuple of Column or Tensor, or None
        The labels, and the probabilities if there are any: float64 of shape (-1, k) with the k
        labels that the columns are about. None for any other model: regressors, and classifiers
        of several targets.

    Raises
    ------
    UnsuitableModel
        If the probabilities are not a column of floats for each of ``classes_``.
    InvalidArgument
        If both outputs would have the same name.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> X = [[20.0], [30.0], [60.0], [70.0]]
    >>> model = LogisticRegression().fit(X, ["young", "young", "old", "old"])
    >>> label, chance = classifier_outputs(model, model.predict(X), model.predict_proba(X))
    >>> label.type, chance.shape, chance.classes
    ('string', (-1, 2), ('old', 'young'))
    """
    if not classifies(model):
        return None
    count = len(predictions)
    if probabilities is None:
        several = predictions.ndim != 1
    else:  # there is a list of arrays, one for each of several targets
        several = predictions.size != count or isinstance(probabilities, list)
    if several:
        return None
    labels = infer_outputs(predictions.reshape(count), count, [name or LABEL])
    if probabilities is None:
        return labels
    if name == PROBABILITY:
        raise InvalidArgument(
            f"output_name={name!r} is the name of the classifier's other output; choose another"
            f" one for the labels"
        )
    return (*labels, _describe(model, np.asarray(probabilities), count))


def _describe(model: Any, probabilities: npt.NDArray[Any], rows: int) -> Tensor:
    classes = getattr(model, "classes_", None)
    if classes is None:
        raise UnsuitableModel(
            f"the {type(model).__name__} has predict_proba but no classes_, which say what its"
            f" columns are about; let fit() set classes_, as scikit-learn's classifiers do"
        )
    labels = tuple(np.asarray(classes).tolist())
    if probabilities.dtype.kind != "f" or probabilities.shape != (rows, len(labels)):
        raise UnsuitableModel(
            f"predict_proba should return floats of shape ({rows}, {len(labels)}), a column for"
            f" each of classes_; found {probabilities.dtype} of shape {probabilities.shape}"
        )
    return Tensor(PROBABILITY, "float64", (-1, len(labels)), labels)
