"""Compile fitted scikit-learn pipelines to ONNX graphs in float64.

One module a family of estimators; importing this package registers them all.
"""

from pyfunc_packaging.compile import (  # noqa: F401 - importing a family registers it
    adaboost,
    bagging,
    baselines,
    catboost,
    composition,
    decomposition,
    discretizing,
    encoding,
    features,
    forests,
    function_transformer,
    gradient_boosting,
    hist_gradient_boosting,
    imputing,
    isotonic,
    kernels,
    lightgbm,
    linear,
    linear_classifiers,
    multioutput,
    naive_bayes,
    neighbors,
    neural,
    normalizing,
    polynomials,
    power,
    quantiles,
    scaling,
    searches,
    selection,
    splines,
    svm,
    thresholds,
    voting,
    xgboost,
)
from pyfunc_packaging.compile.graph import build_graph
from pyfunc_packaging.compile.registry import Context, register_compiler, registered, shared
from pyfunc_packaging.compile.table import Block, Table
from pyfunc_packaging.errors import NotCompilable

__all__ = [
    "Block",
    "Context",
    "NotCompilable",
    "Table",
    "build_graph",
    "register_compiler",
    "registered",
    "shared",
]
