import functools
import io
import json
import operator
import os
import pickle
import re
import sys
import textwrap
import threading
import zipfile

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingRegressor,
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    HuberRegressor,
    LinearRegression,
    PoissonRegressor,
    Ridge,
    RidgeCV,
    TweedieRegressor,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

from pyfunc_packaging import build_pipeline
from pyfunc_packaging.errors import MalformedBundle, MissingDependency, NotPortable
from pyfunc_packaging.reference import PICKLE_FILE, SKOPS_FILE, load_reference, save_reference

RNG = np.random.default_rng(0)
ROWS = pd.DataFrame(
    {
        "a": RNG.normal(size=40),
        "b": RNG.uniform(1, 9, size=40),
        "city": RNG.choice(["Rome", "Bern", "Oslo"], size=40),
    }
)
NUMBERS = ROWS[["a", "b"]]
TARGET = np.exp(ROWS["a"] / 4) + ROWS["b"]

REGRESSORS = [
    AdaBoostRegressor(n_estimators=3),
    BaggingRegressor(n_estimators=3),
    DecisionTreeRegressor(max_depth=3),
    ElasticNet(),
    ExtraTreesRegressor(3),
    GaussianProcessRegressor(ConstantKernel() * RBF() + WhiteKernel(), optimizer=None),
    GradientBoostingRegressor(n_estimators=3),
    HistGradientBoostingRegressor(max_iter=3),
    HistGradientBoostingRegressor(max_iter=3, loss="poisson"),
    HuberRegressor(),
    KNeighborsRegressor(algorithm="ball_tree"),
    KNeighborsRegressor(algorithm="kd_tree"),
    LinearRegression(),
    MLPRegressor(hidden_layer_sizes=(4,), max_iter=5, solver="adam"),
    PLSRegression(1),
    PoissonRegressor(),
    RandomForestRegressor(3),
    Ridge(),
    RidgeCV(),
    SVR(),
    StackingRegressor([("a", Ridge()), ("b", DecisionTreeRegressor(max_depth=2))]),
    TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
    TweedieRegressor(),
    VotingRegressor([("a", Ridge()), ("b", SVR())]),
    make_pipeline(FunctionTransformer(np.sqrt), LinearRegression()).set_params(
        functiontransformer__func=np.square
    ),
    make_pipeline(PolynomialFeatures(), StandardScaler(), Ridge()),
    make_pipeline(SplineTransformer(n_knots=3), Ridge()),
    make_pipeline(QuantileTransformer(n_quantiles=5), Ridge()),
    make_pipeline(make_union(StandardScaler(), PolynomialFeatures()), Ridge()),
]
TABULAR = [
    make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b"]),
            (OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ),
        HistGradientBoostingRegressor(max_iter=3),
    ),
    make_pipeline(
        make_column_transformer((OrdinalEncoder(), ["city"]), remainder="passthrough"),
        RandomForestRegressor(3),
    ),
    build_pipeline(
        HistGradientBoostingRegressor(max_iter=3),
        numeric=["a", "b"],
        categorical=["city"],
        features={"each": "a / b"},
    ),
]


def named(estimator):
    return type(getattr(estimator, "steps", [(0, estimator)])[0][1]).__name__


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("model", "rows"),
    [(model, NUMBERS) for model in REGRESSORS] + [(model, ROWS) for model in TABULAR],
    ids=named,
)
def test_regressors_are_held_by_skops(model, rows, tmp_path):
    model.fit(rows, TARGET)
    stored = save_reference(model, tmp_path)
    assert (stored.file, stored.serialization, stored.reason) == (SKOPS_FILE, "skops", None)
    assert [file.name for file in tmp_path.iterdir()] == [SKOPS_FILE]
    loaded = load_reference(tmp_path)
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))


class Doubled(RegressorMixin, BaseEstimator):
    """An estimator of the user's own."""

    def fit(self, X, y):
        self.factor_ = 2.0
        return self

    def predict(self, X):
        return np.asarray(X)[:, 0] * self.factor_


class Locked(Doubled):
    def fit(self, X, y):
        self.lock_ = threading.Lock()
        return super().fit(X, y)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Doubled(), r"not on the allow-list: .*Doubled"),
        (
            make_pipeline(FunctionTransformer(lambda rows: rows * 2), LinearRegression()),
            "skops|allow-list",
        ),
    ],
)
def test_what_is_not_on_the_allow_list_becomes_a_pickle(model, reason, tmp_path):
    model.fit(NUMBERS, TARGET)
    stored = save_reference(model, tmp_path)
    assert (stored.file, stored.serialization) == (PICKLE_FILE, "pickle")
    assert re.search(reason, stored.reason)
    assert [file.name for file in tmp_path.iterdir()] == [PICKLE_FILE]
    assert __name__ in stored.modules or "sklearn.pipeline" in stored.modules
    loaded = load_reference(tmp_path)
    np.testing.assert_array_equal(loaded.predict(NUMBERS), model.predict(NUMBERS))


def test_what_cannot_be_pickled_is_not_portable(tmp_path):
    with pytest.raises(NotPortable, match=r"cannot be written to a file: TypeError.*a lock"):
        save_reference(Locked().fit(NUMBERS, TARGET), tmp_path)
    assert not list(tmp_path.iterdir())


# --- loading -------------------------------------------------------------------------------


def test_a_folder_without_a_model_is_malformed(tmp_path):
    with pytest.raises(MalformedBundle, match=r"neither model\.skops nor model\.pkl is there"):
        load_reference(tmp_path)


def hostile(**replaced):
    """A skops file of a linear model, with its outermost node changed."""
    model = LinearRegression().fit(NUMBERS, TARGET)
    source = zipfile.ZipFile(io.BytesIO(skops.io.dumps(model)))
    schema = json.loads(source.read("schema.json")) | replaced
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            archive.writestr(
                name, json.dumps(schema) if name == "schema.json" else source.read(name)
            )
    return target.getvalue()


def archive_of(**members):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("_", "."), text)
    return target.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (skops.io.dumps({"run": os.system}), r"\.system"),
        (skops.io.dumps([eval]), r"builtins\.eval"),
        (skops.io.dumps(exec), r"builtins\.exec"),
        (skops.io.dumps(functools.partial(os.system, "true")), r"\.system"),
        (skops.io.dumps(operator.methodcaller("predict")), r"operator\.methodcaller"),
        (skops.io.dumps(operator.attrgetter("__class__")), r"operator\.attrgetter"),
        (skops.io.dumps(Doubled()), "Doubled"),
        (hostile(__module__="os", __class__="system"), r"os\.system"),
        (hostile(__module__="subprocess", __class__="Popen"), r"subprocess\.Popen"),
        (
            hostile(__module__="builtins", __class__="eval", __loader__="TypeNode"),
            r"builtins\.eval",
        ),
        (hostile(__module__="builtins", __class__="eval", __loader__="FunctionNode"), "eval"),
    ],
)
def test_types_that_could_run_code_are_refused_by_name(content, name, tmp_path):
    (tmp_path / SKOPS_FILE).write_bytes(content)
    with pytest.raises(MalformedBundle, match=f"{name}.*not on|not on the allow-list.*{name}"):
        load_reference(tmp_path)


def test_a_hostile_module_is_not_even_imported(tmp_path, monkeypatch):
    (tmp_path / "hostile_module.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / SKOPS_FILE).write_bytes(hostile(__module__="hostile_module", __class__="Model"))
    with pytest.raises(MalformedBundle, match=r"hostile_module\.Model"):
        load_reference(tmp_path)
    assert "hostile_module" not in sys.modules


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        archive_of(),
        archive_of(schema_json="no JSON"),
        archive_of(schema_json="[]"),
        archive_of(schema_json="{}"),
        hostile(__loader__="NoSuchNode"),
        hostile(content=5),
        hostile(content={"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode"}),
        skops.io.dumps(LinearRegression())[:-30],
    ],
)
def test_what_is_no_skops_file_is_malformed(content, tmp_path):
    (tmp_path / SKOPS_FILE).write_bytes(content)
    with pytest.raises(MalformedBundle, match=r"model\.skops: "):
        load_reference(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(LinearRegression())[:-9]])
def test_what_is_no_pickle_is_malformed(content, tmp_path):
    (tmp_path / PICKLE_FILE).write_bytes(content)
    with pytest.raises(MalformedBundle, match=r"model\.pkl: cannot be read"):
        load_reference(tmp_path)


def test_a_module_that_is_not_installed_is_named(tmp_path):
    (tmp_path / PICKLE_FILE).write_bytes(b"cnot_installed_anywhere\nModel\n.")
    with pytest.raises(MissingDependency, match="'not_installed_anywhere', which is not installed"):
        load_reference(tmp_path)


def test_modules_of_the_bundle_come_last_on_the_path(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    code = tmp_path / "code"
    code.mkdir()
    (code / "json.py").write_text("raise SystemExit('shadowed')", encoding="utf-8")
    (code / "carried_along.py").write_text(
        textwrap.dedent("""
            class Model:
                def predict(self, rows):
                    return [7.0] * len(rows)
            """),
        encoding="utf-8",
    )
    (tmp_path / PICKLE_FILE).write_bytes(b"ccarried_along\nModel\n)R.")
    assert load_reference(tmp_path, code=code).predict([1, 2]) == [7.0, 7.0]
    load_reference(tmp_path, code=code)
    assert sys.path == [*before, str(code)]
    del sys.modules["carried_along"]


def test_skops_files_bring_no_code(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    save_reference(LinearRegression().fit(NUMBERS, TARGET), tmp_path)
    load_reference(tmp_path, code=tmp_path)
    assert sys.path == before
