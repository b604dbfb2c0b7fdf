"""Programs that call a model: quoted so that hostile names stay data."""

from __future__ import annotations

import ast
import json
import shlex

from pyfunc_packaging.calling import make_calls, make_curl, one_row

HOSTILE = 'it\'s "$(touch x)" `y` </script> {0} \\ \n'


def make_request(*cells, datatype="BYTES"):
    tensor = {"name": HOSTILE, "shape": [len(cells)], "datatype": datatype, "data": list(cells)}
    return {"inputs": [tensor]}


def test_a_name_stays_a_name_in_a_shell_and_in_a_url():
    """load_bundle() takes no such name; should that change, nothing happens here."""
    command = make_curl("x; touch harm; :/..", {"inputs": []})
    assert shlex.split(command)[3].endswith("/v2/models/x%3B%20touch%20harm%3B%20%3A%2F../infer")


def test_row_with_the_fewest_gaps_is_chosen():
    assert one_row(make_request(None, "b", "c"))["inputs"][0]["data"] == ["b"]


def test_shell_sees_one_word_of_json():
    request = make_request(HOSTILE)
    words = shlex.split(make_curl("price", request))
    assert words[:3] == ["curl", "-H", "Content-Type: application/json"]
    assert words[3] == "http://127.0.0.1:8080/v2/models/price/infer"
    assert json.loads(words[-1]) == request


def test_programs_hold_the_values_as_literals():
    response = {"outputs": [{"name": HOSTILE}]}
    calls = {call.key: call.code for call in make_calls("m", make_request(HOSTILE), response)}
    assert list(calls) == ["curl", "requests", "http", "grpc"]
    for key in ("requests", "http", "grpc"):
        literals = [
            node.value
            for node in ast.walk(ast.parse(calls[key]))
            if isinstance(node, ast.Constant) and node.value == HOSTILE
        ]
        assert len(literals) >= 2


def test_gap_that_no_bytes_can_say_leaves_json_only():
    def keys(request):
        return [call.key for call in make_calls("m", request, {"outputs": []})]

    assert keys(make_request(None)) == ["curl", "requests"]
    assert keys(make_request(None, datatype="FP64")) == ["curl", "requests", "http", "grpc"]
