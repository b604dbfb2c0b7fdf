import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlserver_pyfunc.params import read_params
from pyfunc_packaging.errors import InvalidRequest
from pyfunc_packaging.schema import Param

TYPES = ("boolean", "integer", "long", "float", "double", "string", "datetime")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(
    st.lists(st.builds(Param, st.sampled_from("abc"), st.sampled_from([*TYPES, "odd"]))),
    st.dictionaries(st.sampled_from(["a", "b", "c", "content_type"]), JSON),
)
def test_anything_is_either_taken_as_it_is_or_refused(known, given_parameters):
    try:
        result = read_params(known, given_parameters)
    except InvalidRequest:
        return
    names = {param.name for param in known}
    assert result == {name: v for name, v in given_parameters.items() if name in names}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("boolean", True),
        ("integer", 2**31 - 1),
        ("integer", -(2**31)),
        ("long", 2**63 - 1),
        ("long", -(2**63)),
        ("float", 0.5),
        ("double", 1),
        ("string", ""),
        ("datetime", "2026-11-22T14:00:00"),
    ],
)
def test_values_of_the_type_are_taken(kind, value):
    assert read_params([Param("p", kind)], {"p": value}) == {"p": value}
    assert read_params([Param("p", kind, shape=(-1,))], {"p": [value, value]}) == {"p": [value] * 2}
    assert read_params([Param("p", kind, shape=(-1,))], {"p": []}) == {"p": []}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("boolean", 1),
        ("boolean", "true"),
        ("integer", True),
        ("integer", 2**31),
        ("integer", 1.0),
        ("long", 2**63),
        ("long", -(2**63) - 1),
        ("long", False),
        ("float", True),
        ("double", "1.5"),
        ("double", [1.5]),
        ("string", 5),
        ("string", None),
        ("datetime", 5),
    ],
)
@pytest.mark.parametrize("shape", [None, (-1,)])
def test_values_of_another_type_are_refused(kind, value, shape):
    sent = value if shape is None else [value]
    with pytest.raises(InvalidRequest, match=f"parameter 'p': expected {kind}, got something else"):
        read_params([Param("p", kind, shape=shape)], {"p": sent})


@pytest.mark.parametrize("value", [1.5, "text", None, {}])
def test_a_list_is_expected_where_the_signature_says_so(value):
    with pytest.raises(InvalidRequest, match="parameter 'p': expected a list of double"):
        read_params([Param("p", "double", shape=(-1,))], {"p": value})


def test_unknown_parameters_are_refused_by_name():
    known = [Param("temperature", "double"), Param("seed", "long")]
    with pytest.raises(
        InvalidRequest, match="'temprature': unknown; the model takes temperature, seed"
    ):
        read_params(known, {"temprature": 0.5})


def test_long_names_are_cut_in_messages():
    with pytest.raises(InvalidRequest) as caught:
        read_params([Param("p", "long")], {"x" * 10_000: 1})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["content_type", "headers", "sequence_id", "binary_data_output"])
def test_parameters_of_the_protocol_are_no_business_of_the_model(name):
    assert read_params([Param("p", "long")], {name: 5, "p": 1}) == {"p": 1}


def test_a_model_without_parameters_takes_any_and_uses_none():
    assert read_params([], {"anything": object()}) == {}


def test_what_is_not_sent_is_left_to_the_default():
    assert read_params([Param("p", "long", 7)], {}) == {}
