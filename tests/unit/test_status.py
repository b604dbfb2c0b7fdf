import inspect

import pytest
from mlserver.errors import MLServerError

from mlserver_pyfunc.status import to_mlserver_error
from pyfunc_packaging import errors

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
CLIENTS = {errors.InvalidRequest, errors.UnsuitableData, errors.ValuesRefused}

OTHERS = {
    errors.RequestTooLarge: 413,
    errors.NotAnswered: 503,
    errors.ServerBusy: 503,
    errors.PredictTimeout: 504,
    errors.ClientGone: 499,
}


def test_every_error_is_ours():
    assert len(CLASSES) >= 14
    assert all(issubclass(kind, errors.PyFuncError) for kind in CLASSES)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_a_status(kind):
    error = to_mlserver_error(kind("what went wrong"))
    assert isinstance(error, MLServerError)
    assert str(error) == "what went wrong"
    assert error.status_code == OTHERS.get(kind, 400 if kind in CLIENTS else 500)


@pytest.mark.parametrize("kind", sorted(CLIENTS, key=str))
def test_subclasses_have_the_status_of_their_base(kind):
    assert to_mlserver_error(type("Special", (kind,), {})("x")).status_code == 400
