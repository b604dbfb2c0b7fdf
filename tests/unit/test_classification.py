import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from pyfunc_packaging.classification import has_probabilities
from pyfunc_packaging.errors import InvalidArgument, ModelFailure, UnsuitableData, UnsuitableModel
from pyfunc_packaging.schema import Column, Tensor
from pyfunc_packaging.scoring import predict_outputs
from pyfunc_packaging.trial import make_schema

ROWS = 60


@pytest.fixture
def rows():
    rng = np.random.default_rng(5)
    return pd.DataFrame({"a": rng.normal(size=ROWS), "b": rng.normal(size=ROWS)})


def outputs(model, rows, labels=None, name=None):
    return make_schema(model, rows, labels, name).outputs


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        ((0, 1), "long"),
        (("no", "yes"), "string"),
        ((False, True), "boolean"),
        ((-1.0, 2.0), "double"),
        (("high", "low", "middle"), "string"),
    ],
)
def test_labels_and_probabilities(classes, kind, rows):
    labels = np.array(classes)[np.arange(ROWS) % len(classes)]
    target = pd.Series(labels, name="churn")  # a name that only a regressor's output would have
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, target)
    label, probability = outputs(model, rows, target)
    assert (label.name, label.type) == ("label", kind)
    assert probability == Tensor("probability", "float64", (-1, len(classes)), classes)
    assert list(map(type, probability.classes)) == list(map(type, classes))


@pytest.mark.parametrize(
    "model",
    [
        RidgeClassifier(),
        GridSearchCV(RidgeClassifier(), {"alpha": [1.0]}, cv=2),
        LogisticRegression(),
        SVC(),
    ],
)
def test_probabilities_only_where_the_model_has_them(model, rows):
    model.fit(rows, rows["a"] > 0)
    names = [output.name for output in outputs(model, rows)]
    assert names == ["label", "probability"][: 1 + hasattr(model, "predict_proba")]


def test_a_threshold_does_not_change_the_outputs(rows):
    model = FixedThresholdClassifier(LogisticRegression(), threshold=0.1).fit(rows, rows["a"] > 0)
    label, probability = outputs(model, rows)
    found = predict_outputs(model, (label, probability), rows)
    assert found["label"].tolist() == (found["probability"][:, 1] >= 0.1).tolist()
    assert found["label"].tolist() != (found["probability"][:, 1] > 0.5).tolist()


def test_a_given_name_renames_the_labels(rows):
    model = LogisticRegression().fit(rows, rows["a"] > 0)
    assert [output.name for output in outputs(model, rows, name="churn")] == [
        "churn",
        "probability",
    ]
    with pytest.raises(InvalidArgument, match="output_name='probability' is the name of the"):
        outputs(model, rows, name="probability")


def test_the_target_is_still_found_among_the_features(rows):
    target = (rows["a"] > 0).rename("b")
    with pytest.raises(UnsuitableData, match="X still holds the target column 'b'"):
        outputs(LogisticRegression().fit(rows, target), rows, target)


def test_several_targets_stay_as_they_were(rows):
    targets = pd.DataFrame({"low": rows["a"] > 0, "high": rows["b"] > 0})
    for model in (MultiOutputClassifier(LogisticRegression()), RandomForestClassifier(3)):
        model.fit(rows, targets)
        assert [output.name for output in outputs(model, rows, targets)] == ["low", "high"]
    one = MultiOutputClassifier(LogisticRegression()).fit(rows, targets[["low"]])
    assert outputs(one, rows, name="y") == (Tensor("y", "bool", (-1, 1)),)


def test_regressors_keep_the_name_of_their_target(rows):
    model = LinearRegression().fit(rows, rows["a"])
    assert not has_probabilities(model)
    assert outputs(model, rows, rows["a"].rename("price")) == (
        Column("price", "double", nullable=True),
    )


class Custom(ClassifierMixin, BaseEstimator):
    """A classifier whose results are what they are told to be."""

    def __init__(self, labels=None, chances=None, classes=None):
        self.labels = labels
        self.chances = chances
        self.classes = classes

    def fit(self, X, y=None):
        if self.classes is not None:
            self.classes_ = np.array(self.classes)
        return self

    def predict(self, X):
        return np.repeat([self.labels], len(X), axis=0)

    def predict_proba(self, X):
        return np.repeat([self.chances], len(X), axis=0)


def test_labels_in_a_matrix_of_one_column_and_narrow_probabilities(rows):
    chances = np.array([0.25, 0.75], dtype="float32")
    model = Custom(["yes"], chances, ["no", "yes"]).fit(rows)
    described = outputs(model, rows)
    assert described == (
        Column("label", "string"),
        Tensor("probability", "float64", (-1, 2), ("no", "yes")),
    )
    found = predict_outputs(model, described, rows.head(2))
    assert found["label"].tolist() == ["yes", "yes"]
    assert found["label"].dtype == object
    assert found["probability"].dtype == "float64"
    assert found["probability"].tolist() == [[0.25, 0.75]] * 2


@pytest.mark.parametrize(
    ("chances", "classes", "message"),
    [
        ([0.5, 0.5], None, "the Custom has predict_proba but no classes_"),
        ([0.5, 0.5], ["a", "b", "c"], r"floats of shape \(60, 3\).*found float64 of shape"),
        (["x", "y"], ["a", "b"], r"floats of shape \(60, 2\).*found <U1"),
        (0.5, ["a", "b"], r"found float64 of shape \(60,\)"),
    ],
)
def test_probabilities_that_say_not_what_they_are_about_are_refused(
    chances, classes, message, rows
):
    with pytest.raises(UnsuitableModel, match=message):
        outputs(Custom("a", chances, classes).fit(rows), rows)


def test_probabilities_that_fail_are_the_models_fault(rows):
    class Broken(Custom):
        def predict_proba(self, X):
            raise RuntimeError("no probabilities today")

    with pytest.raises(UnsuitableModel, match="RuntimeError: no probabilities today"):
        outputs(Broken("a", [0.5, 0.5], ["a", "b"]).fit(rows), rows)


def test_several_columns_are_split_and_must_be_as_many_as_named(rows):
    names = (Column("low", "double"), Column("high", "double"))
    model = LinearRegression().fit(rows, rows)
    found = predict_outputs(model, names, rows)
    np.testing.assert_array_equal(found["high"], model.predict(rows)[:, 1])
    with pytest.raises(ModelFailure, match=r"predictions of shape \(60, 2\) for 3 outputs"):
        predict_outputs(model, (*names, Column("other", "double")), rows)
