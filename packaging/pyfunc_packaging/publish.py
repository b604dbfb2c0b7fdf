"""Log a bundle to MLflow as an ordinary logged model, register it and point an alias at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyfunc_packaging.bundle import Bundle
from pyfunc_packaging.mlmodel import LoggedIdentity

if TYPE_CHECKING:
    from mlflow import ActiveRun


def publish(
    write: Callable[[LoggedIdentity], Bundle],
    *,
    name: str,
    registered_model_name: str | None,
    alias: str | None,
) -> Bundle:
    """Create a logged model, write the bundle as that model, upload it, register it.

    The logged model is created first, because its id stands in ``MLmodel``; if writing or uploading
    fails, MLflow shows it as failed and nothing is registered.

    Parameters
    ----------
    write : callable
        Writes the bundle, given the identity that MLflow assigned.
    name : str
        Name of the logged model.
    registered_model_name : str or None
        Registered model that gets a new version; None registers nothing.
    alias : str or None
        Alias that then points at the new version.

    Returns
    -------
    Bundle
    """
    import mlflow
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    client = MlflowClient()
    with _run(name) as run:
        run_id = run.info.run_id
        model = mlflow.initialize_logged_model(name=name, source_run_id=run_id)
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        finished = False
        try:
            bundle = write(LoggedIdentity(model.model_id, run_id, model.artifact_location))
            client.log_model_artifacts(model.model_id, str(bundle.path))
            client.set_logged_model_tags(model.model_id, {"pyfunc.digest": bundle.digest})
            finished = True
        finally:
            status = LoggedModelStatus.READY if finished else LoggedModelStatus.FAILED
            mlflow.finalize_logged_model(model.model_id, status)
        if registered_model_name is not None:
            version = mlflow.register_model(
                f"models:/{model.model_id}",
                registered_model_name,
                tags={"pyfunc.digest": bundle.digest},
            )
            if alias is not None:
                client.set_registered_model_alias(registered_model_name, alias, version.version)
    return bundle


@contextmanager
def _run(name: str) -> Iterator[ActiveRun]:
    """The active run, or one of our own that ends with us."""
    import mlflow

    active = mlflow.active_run()
    if active is not None:
        yield active
        return
    with mlflow.start_run(run_name=f"package {name}") as run:
        yield run
