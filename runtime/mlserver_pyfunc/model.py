"""The MLServer runtime: loads a model from a directory and answers V2 requests with it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from mlserver import MLModel, ModelSettings
from mlserver.context import model_context
from mlserver.errors import MLServerError, ModelNotReady
from mlserver.logging import logger
from mlserver.types import Datatype as MLServerDatatype
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataTensor,
    Parameters,
    ResponseOutput,
    TensorData,
)
from mlserver.utils import get_model_uri

from mlserver_pyfunc.counts import Counts, Times
from mlserver_pyfunc.decode import Decoder, InputTensor
from mlserver_pyfunc.drift import watch_columns
from mlserver_pyfunc.encode import Encoded, Encoder
from mlserver_pyfunc.engines import BundleEngine, Engine, load_engine
from mlserver_pyfunc.executor import ExecutorClosed, make_executor
from mlserver_pyfunc.joining import may_join
from mlserver_pyfunc.limits import INPUTS_VARIABLE, check_rows, read_limits
from mlserver_pyfunc.logs import REQUEST_ID
from mlserver_pyfunc.loop_time import LoopTime
from mlserver_pyfunc.metrics import collector
from mlserver_pyfunc.outcomes import watch_outputs
from mlserver_pyfunc.params import read_extras, read_params
from mlserver_pyfunc.plain import Decoded, PlainReader
from mlserver_pyfunc.status import to_mlserver_error
from mlserver_pyfunc.trial import check_golden, count_prompt_rows
from mlserver_pyfunc.turn import Afterwards, join_rows
from pyfunc_packaging.errors import InvalidSetting, ModelFailure, PyFuncError
from pyfunc_packaging.schema import Column, Schema, Tensor

#: Seconds for which one request may hold up the event loop, and the probes with it. A longer one
#: goes to a thread, which costs it some hundred microseconds.
_PROMPT = 5e-3

_NONE: Mapping[str, Any] = MappingProxyType({})
Rendered = TypeVar("Rendered")
Result = TypeVar("Result")


class PyFuncRuntime(MLModel):  # type: ignore[misc]  # MLServer is not typed
    """Serves one bundle, or one MLflow PyFunc model with a signature.

    ``parameters.uri`` of the model settings names the directory: a path, absolute or relative to
    the settings file, or a ``file://`` URL.

    Parameters
    ----------
    settings : mlserver.ModelSettings
    """

    def __init__(self, settings: ModelSettings) -> None:
        if settings.max_batch_size:
            # MLServer's batching joins columns of several requests before anyone checks that they
            # match: one that lacks a value shifts the answers of all others.
            logger.warning(
                "max_batch_size is ignored: it would mix requests before they are checked"
            )
            settings.max_batch_size = 0
        super().__init__(settings)
        # One thread: the model's own threads and the replicas are what scales. Its queue is what
        # keeps a slow predict from holding up the event loop, and with it the probes.
        self._executor = make_executor()
        #: How many rows are predicted on the event loop; 0 for none.
        self.prompt_rows = 0
        #: Whether rows are predicted alike alone and among others, to the last bit.
        self._joins = False
        self._max_rows: int | None = None  # none while the golden rows are predicted
        #: What requests take of the event loop.
        self.on_loop = LoopTime()
        #: What answers that are given on the event loop do not wait for.
        self.afterwards = Afterwards()
        self._example: dict[str, Any] | None = None
        #: Nothing that is predicted while the model is loaded counts.
        self.counts = Counts()
        self.facts: Mapping[str, str] = _NONE

    async def load(self) -> bool:
        """Load the model and predict its golden rows; see :class:`mlserver.MLModel`.

        Raises
        ------
        PyFuncError
            If the model cannot be served; the message is one line that says why.
        """
        self._engine: Engine = await self._load_in_thread(load_engine, await self._find_model())
        schema = self._engine.schema
        _check_limits(schema)
        self._params = schema.params
        self.plain = PlainReader(schema)
        self._decoder = Decoder(schema, self.plain)
        self._encoder = Encoder(schema.outputs)
        self._settings.platform = self._settings.platform or self._engine.platform
        if self.version is not None:
            self._settings.versions = [self.version]
        self.inputs = [_metadata(field) for field in schema.inputs]
        self.outputs = [_metadata(field) for field in schema.outputs]
        if isinstance(self._engine, BundleEngine):
            await self._load_in_thread(self._try, self._engine)
        self._max_rows = read_limits().rows
        self.prompt_rows = min(self.prompt_rows, self._max_rows)  # more are refused by the way
        self.counts = self._make_counts()
        collector().add(self)
        return True

    def _try(self, engine: BundleEngine) -> None:
        """Predict the golden rows, which have to be right, and see what the model can do."""
        request = check_golden(engine.bundle, self._infer)
        self._example = engine.bundle.golden()["request"]
        if engine.concurrent:
            golden = self._decoder.decode(request.inputs)
            self.prompt_rows = count_prompt_rows(golden, self._infer, seconds=_PROMPT)
            self._joins = may_join(
                engine.bundle,
                golden,
                self._infer,
                lambda rows: self._predict_together(rows, [Times() for _ in rows]),
            )

    def _make_counts(self) -> Counts:
        """Begin to count, against what the bundle says of its training data."""
        bundle = self._engine.bundle if isinstance(self._engine, BundleEngine) else None
        self.facts = {
            "bundle": "" if bundle is None else bundle.name,
            "digest": "" if bundle is None else bundle.digest,
            "engine": self._engine.name,
            "format": "mlflow" if bundle is None else str(bundle.manifest["format_version"]),
        }
        if bundle is None:
            return Counts()
        profile, schema = bundle.profile(), self._engine.schema
        return Counts(
            watch_columns(schema.columns, profile),
            watch_outputs(schema, profile, bundle.golden()),
            profile["rows"],
        )

    @property
    def schema(self) -> Schema:
        """What the model takes and returns."""
        return self._engine.schema

    def read_example(self) -> dict[str, Any] | None:
        """A request that works: the golden rows, where there are any."""
        return self._example

    @property
    def alive(self) -> bool:
        """Whether the model can answer; not when its predicts hang."""
        return self._executor.alive

    @property
    def waiting(self) -> int:
        """How many requests wait for the model's thread."""
        return self._executor.waiting

    @property
    def max_waiting(self) -> int:
        """How many may."""
        return self._executor.max_queue

    async def _find_model(self) -> Path:
        parameters = self._settings.parameters
        path = Path(parameters.uri) if parameters and parameters.uri else None
        if path is not None and path.is_absolute() and path.is_dir():
            return path  # as it is: MLServer would take a # or ? in it for a part of a URL
        return Path(await get_model_uri(self._settings))

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request; see :class:`mlserver.MLModel`."""
        began, times = time.perf_counter(), Times()
        REQUEST_ID.set(payload.id)
        try:
            outputs = await self.infer(
                payload.inputs,
                [output.name for output in payload.outputs or []],
                read_extras(payload.parameters),
                _to_mlserver,
                times,
            )
        except BaseException as error:  # also where the client has cancelled the call
            self.counts.refuse(error)
            raise
        self.counts.answer(times, time.perf_counter() - began)
        # what we made ourselves needs no validation, which would look at every value
        return InferenceResponse.model_construct(
            id=payload.id,
            model_name=self.name,
            model_version=self.version,
            parameters=None,
            outputs=outputs,
        )

    async def infer(
        self,
        inputs: Sequence[InputTensor] | Decoded,
        requested: Sequence[str],
        parameters: Mapping[str, Any],
        render: Callable[[Sequence[Encoded]], Rendered],
        times: Times,
    ) -> Rendered:
        """Decode, predict, encode and render; all of it in the model's thread unless it is short.

        Parameters
        ----------
        inputs : sequence of InputTensor, or Decoded
        requested : sequence of str
            Names of the outputs to send; empty for all.
        parameters : mapping
            Of the request, without those that the protocol itself names.
        render : callable
            Makes what is returned of the encoded outputs.
        times : Times
            Gets those of the stages.

        Raises
        ------
        mlserver.errors.MLServerError
            With the status and the message for the client; our own fault is in the log then.
        """

        def finish(outputs: Sequence[Encoded]) -> Rendered:
            began = time.perf_counter()
            rendered = render(outputs)
            times.encode += time.perf_counter() - began
            return rendered

        if self.is_small(inputs):
            await self.on_loop.wait()
            return finish(self.infer_now(inputs, requested, parameters, times))
        try:
            return await self.in_thread(
                lambda: finish(self._infer(inputs, requested, parameters, times))
            )
        except PyFuncError as error:
            raise self._explain(error) from error

    def infer_now(
        self,
        inputs: Sequence[InputTensor] | Decoded,
        requested: Sequence[str],
        parameters: Mapping[str, Any],
        times: Times,
    ) -> list[Encoded]:
        """The same on the event loop, for a request that `is_prompt`; the outputs as they are."""
        began = time.perf_counter()
        try:
            return self._infer(inputs, requested, parameters, times, self.afterwards)
        except PyFuncError as error:
            raise self._explain(error) from error
        finally:
            self.on_loop.add(time.perf_counter() - began)

    def infer_together(
        self, requests: Sequence[Decoded], times: Sequence[Times]
    ) -> list[list[Encoded]] | None:
        """The outputs of several requests; None where each has to be predicted alone.

        Parameters
        ----------
        requests : sequence of Decoded
            Together at most `prompt_rows`.
        times : sequence of Times
            Of each: predicting took every one of them as long as it took all.
        """
        if len(requests) == 1 or not self._joins:
            return None
        began = time.perf_counter()
        try:
            return self._predict_together(requests, times, self.afterwards)
        except PyFuncError:  # what is wrong with which one, each says by itself
            return None
        except Exception:  # noqa: BLE001 - our own fault: each is tried by itself all the same
            logger.exception("model %s: an unexpected error", self.name)
            return None
        finally:
            self.on_loop.add(time.perf_counter() - began)

    def _predict_together(
        self,
        requests: Sequence[Decoded],
        times: Sequence[Times],
        afterwards: Afterwards | None = None,
    ) -> list[list[Encoded]]:
        began = time.perf_counter()
        joined = join_rows(requests)
        found = self._engine.predict(joined.values, rows=joined.rows, params={})
        predicted = time.perf_counter()
        first, outputs = 0, []
        for request, own_times in zip(requests, times, strict=True):
            rows = slice(first, first + request.rows)
            own = {name: values[rows] for name, values in found.items()}
            own_times.predict = predicted - began
            start = time.perf_counter()
            outputs.append(self._encoder.encode(own, rows=request.rows))
            own_times.encode = time.perf_counter() - start
            first = rows.stop
        if afterwards is not None:
            afterwards.call(self.counts.predict, joined.values, found, joined.rows)
        return outputs

    def _explain(self, error: PyFuncError) -> MLServerError:
        if isinstance(error, ModelFailure):
            with model_context(self.settings):
                logger.error("model %s failed: %s", self.name, error, exc_info=error)
        return to_mlserver_error(error)

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        """Answer every request of a stream; MLServer's own answers the first and drops the rest."""
        async for payload in payloads:
            yield await self.predict(payload)

    async def unload(self) -> bool:
        """Take no new work; what is waiting is still answered, then the thread ends."""
        self._executor.close()
        collector().remove(self)
        return True

    async def in_thread(self, function: Callable[[], Result]) -> Result:
        """Call a function in the model's thread, after all that waits there.

        Raises
        ------
        NotAnswered
            If it cannot be called, or does not end; see :meth:`executor.Executor.run`.
        mlserver.errors.ModelNotReady
            If the model is being unloaded.
        """
        try:
            return await self._executor.run(function)
        except ExecutorClosed as error:
            raise ModelNotReady(self.name, self.version) from error

    async def _load_in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """The same for what loading takes, however long that is."""
        return await self._executor.run(lambda: function(*arguments), watched=False)

    def is_prompt(self, inputs: Sequence[InputTensor] | Decoded) -> bool:
        """Whether a request needs no thread, and may be answered now."""
        return self.on_loop.may_go_on() and self.is_small(inputs)

    def is_small(self, inputs: Sequence[InputTensor] | Decoded) -> bool:
        """Whether a request needs no thread."""
        if isinstance(inputs, Decoded):
            return inputs.rows <= self.prompt_rows
        shape = inputs[0].shape if inputs else None
        rows = shape[0] if isinstance(shape, list) and shape else None
        return isinstance(rows, int) and rows <= self.prompt_rows

    def _infer(
        self,
        inputs: Sequence[InputTensor] | Decoded,
        requested: Sequence[str] = (),
        parameters: Mapping[str, Any] = _NONE,
        times: Times | None = None,
        afterwards: Afterwards | None = None,
    ) -> list[Encoded]:
        """Decode, predict, encode."""
        began = time.perf_counter()
        names = self._encoder.select(requested)
        params = read_params(self._params, parameters)
        decoded = inputs if isinstance(inputs, Decoded) else self._decoder.decode(inputs)
        if self._max_rows is not None:
            check_rows(decoded.rows, self._max_rows)
        read = time.perf_counter()
        predictions = self._engine.predict(decoded.values, rows=decoded.rows, params=params)
        predicted = time.perf_counter()
        outputs = self._encoder.encode(predictions, rows=decoded.rows, names=names)
        if times is not None:  # a request, and no golden rows
            times.decode += read - began
            times.predict = predicted - read
            times.encode = time.perf_counter() - predicted
            if afterwards is None:
                self.counts.predict(decoded.values, predictions, decoded.rows)
            else:
                afterwards.call(self.counts.predict, decoded.values, predictions, decoded.rows)
        return outputs


def _check_limits(schema: Schema) -> None:
    limit = read_limits().inputs
    if len(schema.inputs) > limit:
        raise InvalidSetting(
            f"{INPUTS_VARIABLE} is {limit}, and the model has {len(schema.inputs)} inputs: it would"
            f" refuse every request; set at least as many"
        )


def _to_mlserver(outputs: Sequence[Encoded]) -> list[ResponseOutput]:
    return [
        ResponseOutput.model_construct(
            name=output.name,
            shape=output.shape,
            datatype=output.datatype,
            parameters=None,
            data=TensorData.model_construct(root=output.data),
        )
        for output in outputs
    ]


def _metadata(field: Column | Tensor) -> MetadataTensor:
    parameters = None
    if isinstance(field, Column) and field.type == "datetime":
        parameters = Parameters(content_type="datetime")
    if isinstance(field, Tensor) and field.classes is not None:
        parameters = Parameters.model_validate({"classes": list(field.classes)})
    return MetadataTensor(
        name=field.name,
        datatype=MLServerDatatype(field.datatype),
        shape=list(field.shape),
        parameters=parameters,
    )
