"""What a skops file could do although every type in it is allowed, and may not.

Types are not all: scikit-learn's text vectorizers open files when they are told that texts are file
names, and its trees are walked by compiled code, which follows the numbers in them wherever they
point. Both is refused here, after the file was read and before anything is predicted.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

#: What leads out of an estimator into whole libraries, and holds no fitted state.
_OUTSIDE = (type, FunctionType, BuiltinFunctionType, ModuleType, str, bytes, int, float)


def find_harm(model: Any) -> str | None:
    """Look for what an estimator of allowed types would do beyond computing.

    Parameters
    ----------
    model : estimator

    Returns
    -------
    str or None
        What it would do, for a message; None for a harmless one.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> find_harm([CountVectorizer(input="filename")])
    "a CountVectorizer with input='filename', which reads files"
    >>> find_harm([CountVectorizer()])
    """
    kinds = _kinds()
    for each in _walk(model):
        for kind, check in kinds:
            if isinstance(each, kind):
                try:
                    harm = check(each)
                except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                    harm = f"does not hold what it should ({error})"
                if harm is not None:
                    return f"a {type(each).__name__} {harm}"
    return None


def _kinds() -> list[tuple[type, Any]]:
    """Classes to look at: of modules that are not loaded there are no objects."""
    names = [
        ("sklearn.feature_extraction.text", "_VectorizerMixin", _check_vectorizer),
        ("sklearn.tree._tree", "Tree", _check_tree),
        ("sklearn.tree", "BaseDecisionTree", _check_width),
        ("sklearn.ensemble._forest", "BaseForest", _check_members),
        ("sklearn.ensemble._gb", "BaseGradientBoosting", _check_members),
        (
            "sklearn.ensemble._hist_gradient_boosting.gradient_boosting",
            "BaseHistGradientBoosting",
            _check_predictors,
        ),
    ]
    return [
        (getattr(sys.modules[module], name), check)
        for module, name, check in names
        if module in sys.modules
    ]


def _walk(model: Any) -> Iterator[Any]:
    """Every object that belongs to a model, once."""
    seen: dict[int, Any] = {}  # holds them, so that no id is used twice
    pending = [model]
    while pending:
        each = pending.pop()
        if id(each) in seen or isinstance(each, _OUTSIDE):
            continue
        seen[id(each)] = each
        yield each
        if isinstance(each, np.ndarray):  # which the garbage collector does not look into
            pending += each.ravel().tolist() if each.dtype.hasobject else []
        else:
            pending += gc.get_referents(each)


def _check_vectorizer(vectorizer: Any) -> str | None:
    found = vectorizer.input
    if type(found) is str and found == "content":  # another type may be equal to anything
        return None
    return f"with input={found!r:.20}, which reads files"


def _check_tree(tree: Any) -> str | None:
    inner = tree.children_left != -1
    children = (tree.children_left[inner], tree.children_right[inner])
    return _check_nodes(
        tree.node_count, np.flatnonzero(inner), children, tree.feature[inner], tree.n_features
    )


def _check_width(estimator: Any) -> str | None:
    tree = getattr(estimator, "tree_", None)
    if tree is None or tree.n_features == estimator.n_features_in_:
        return None
    return f"of {estimator.n_features_in_} columns with a tree of {tree.n_features}"


def _check_members(ensemble: Any) -> str | None:
    """The trees of an ensemble get its rows without another look at them."""
    for member in np.ravel(getattr(ensemble, "estimators_", [])):
        if member.tree_.n_features != ensemble.n_features_in_:
            return f"of {ensemble.n_features_in_} columns with a tree of {member.tree_.n_features}"
    return None


def _check_predictors(estimator: Any) -> str | None:
    for predictor in (each for group in getattr(estimator, "_predictors", []) for each in group):
        nodes, mapped = predictor.nodes, estimator._bin_mapper.is_categorical_
        if not len(nodes):
            return "with a tree without nodes"
        inner = nodes["is_leaf"] == 0
        columns = nodes["feature_idx"][inner]
        children = (nodes["left"][inner], nodes["right"][inner])
        width = min(estimator.n_features_in_, len(mapped))
        harm = _check_nodes(len(nodes), np.flatnonzero(inner), children, columns, width)
        if harm is not None:
            return harm
        categorical = nodes["is_categorical"][inner] != 0
        sets = nodes["bitset_idx"][inner][categorical]
        known = np.asarray(mapped)[columns[categorical]]
        if (sets >= len(predictor.raw_left_cat_bitsets)).any() or not known.all():
            return "with a tree that looks categories up outside of its own"
    return None


def _check_nodes(count: int, own: Any, children: Any, columns: Any, width: int) -> str | None:
    """Children stand behind their parent: so the walk ends, and within the array."""
    for each in children:
        if (each <= own).any() or (each >= count).any():
            return "with a tree whose nodes lead outside of it, or back"
    if (columns < 0).any() or (columns >= width).any():
        return f"with a tree that looks at columns beyond its {width}"
    return None
