"""The limit for Python: uvicorn, orjson and ONNX Runtime with as little as possible between them.

It checks nothing: a wrong request ends in an error, or in a wrong answer.

MODEL=bundle/data/model.onnx MLSERVER_HTTP_PORT=8080 python benchmarks/bare.py
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime
import orjson
import uvicorn

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options)
outputs = [session.get_outputs()[0].name]


async def app(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    parts = [message["body"]]
    while message["more_body"]:
        message = await receive()
        parts.append(message["body"])
    content = orjson.loads(b"".join(parts))
    feeds = {
        tensor["name"]: np.array(
            tensor["data"], dtype=object if tensor["datatype"] == "BYTES" else np.float64
        ).reshape(-1, 1)
        for tensor in content["inputs"]
    }
    (values,) = session.run(outputs, feeds)
    tensor = {"name": "y", "shape": [len(values)], "datatype": "FP64", "data": values.tolist()}
    body = orjson.dumps({"model_name": "california", "outputs": [tensor]})
    headers = [
        (b"content-length", str(len(body)).encode()),
        (b"content-type", b"application/json"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(os.environ["MLSERVER_HTTP_PORT"]),
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
