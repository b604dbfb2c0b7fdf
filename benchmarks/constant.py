"""An MLServer model that answers a constant: the floor under everything served by MLServer."""

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Constant(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = payload.inputs[0].shape[0]
        output = ResponseOutput(name="y", shape=[rows], datatype="FP64", data=[1.0] * rows)
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])
