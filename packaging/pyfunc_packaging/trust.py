"""What a model may do to the server: which signatures count, and whether its code may run.

Read from the environment, which belongs to the operator, and never from the model.
"""

from __future__ import annotations

import os
from pathlib import Path

from pyfunc_packaging.bundle import MLMODEL, Bundle
from pyfunc_packaging.errors import CodeRefused, InvalidSetting
from pyfunc_packaging.reference import PICKLE_FILE, SKOPS_FILE
from pyfunc_packaging.verification import (
    Signed,
    Trusted,
    read_certificates,
    read_keys,
    read_signature,
    split_keys,
)

#: Public keys: files, separated as in PATH, or their content (as from a Kubernetes secret).
KEY_VARIABLE = "PYFUNC_VERIFY_KEY"
#: Files with trusted certificates, separated as in PATH.
CERTIFICATES_VARIABLE = "PYFUNC_VERIFY_CERTIFICATES"
#: Whose code may run: nobody's (``data``), that of signed models, or that of any (``code``).
TRUST_VARIABLE = "PYFUNC_TRUST"

_LEVELS = ("data", "signed", "code")

#: MLflow's own switch against pickles, and what it takes for no.
_MLFLOW_VARIABLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
_NO = ("false", "0")
_YES = ("true", "1", "")


def read_trust() -> str:
    """The value of ``PYFUNC_TRUST``.

    Returns
    -------
    str
        ``"data"``, ``"signed"`` or ``"code"``.

    Raises
    ------
    InvalidSetting
        If it is another one.

    Examples
    --------
    >>> read_trust()
    'data'
    """
    level = os.environ.get(TRUST_VARIABLE) or "data"
    if level not in _LEVELS:
        raise InvalidSetting(
            f"{TRUST_VARIABLE} should be 'data', 'signed' or 'code', found {level!r}; unset it to"
            f" run no code of any model"
        )
    return level


def read_trusted_signature(path: Path) -> Signed | None:
    """Check the signature of a model, if the operator asks for one; no other file is opened.

    Parameters
    ----------
    path : pathlib.Path
        The model's directory.

    Returns
    -------
    Signed or None
        None where neither keys nor certificates are set.

    Raises
    ------
    InvalidSetting
        If both are, or one is set and blank: a secret that is empty must not switch this off.
    PyFuncError
        See :func:`pyfunc_packaging.verification.read_signature`.
    """
    keys, certificates = _setting(KEY_VARIABLE), _setting(CERTIFICATES_VARIABLE)
    if keys and certificates:
        raise InvalidSetting(
            f"{KEY_VARIABLE} and {CERTIFICATES_VARIABLE} are both set, and a model has one"
            f" signature; unset one of them"
        )
    if keys:
        return read_signature(path, _keys(keys))
    if certificates:
        return read_signature(path, read_certificates(_paths(CERTIFICATES_VARIABLE, certificates)))
    return None


def _setting(variable: str) -> str:
    value = os.environ.get(variable)
    if value is not None and not value.strip():
        raise InvalidSetting(
            f"{variable} is set and blank, so it names nobody to trust; unset it to trust all"
        )
    return (value or "").strip()


def _keys(value: str) -> Trusted:
    if "-----BEGIN" not in value:
        return read_keys(_paths(KEY_VARIABLE, value))
    return Trusted(tuple(split_keys(value.encode(), KEY_VARIABLE)))


def _paths(variable: str, value: str) -> list[str]:
    paths = [path for path in value.split(os.pathsep) if path]
    if not paths:
        raise InvalidSetting(
            f"{variable} should name files, found {value!r}; unset it to trust all"
        )
    return paths


def check_reference(bundle: Bundle, trust: str, *, verified: bool) -> bool:
    """Check that the pipeline in a bundle may be loaded.

    Parameters
    ----------
    bundle : Bundle
    trust : str
        What `read_trust` returned.
    verified : bool
        Whether the signature of the bundle was.

    Returns
    -------
    bool
        Whether a pickle may be loaded: never in place of a skops file, which may be gone when it is
        opened.

    Raises
    ------
    CodeRefused
        If it is a pickle, and pickles may not be loaded.
    """
    if (bundle.data_path / SKOPS_FILE).is_file():
        return False  # what `load_reference` then opens, whatever the manifest says
    file = bundle.data_path / PICKLE_FILE
    if not _mlflow_allows_pickles():
        raise CodeRefused(
            f"{file}: a pickle, which runs code when it is loaded, and {_MLFLOW_VARIABLE} is"
            f" {os.environ[_MLFLOW_VARIABLE]}; package a model that needs none, or unset it"
        )
    _check(f"{file}: a pickle, which runs code when it is loaded", trust, verified=verified)
    return True


def _mlflow_allows_pickles() -> bool:
    value = os.environ.get(_MLFLOW_VARIABLE, "")
    if value.lower() not in _NO + _YES:
        raise InvalidSetting(f"{_MLFLOW_VARIABLE} should be 'true' or 'false', found {value!r:.80}")
    return value.lower() not in _NO


def check_code(path: Path, trust: str, *, verified: bool) -> None:
    """Check that an MLflow model may be loaded, which imports modules and mostly unpickles.

    Parameters
    ----------
    path : pathlib.Path
    trust : str
        What `read_trust` returned.
    verified : bool
        Whether its signature was.

    Raises
    ------
    CodeRefused
        If it may not.
    """
    _check(
        f"{path / MLMODEL}: an MLflow model and no bundle, which runs code when it is loaded",
        trust,
        verified=verified,
    )


def _check(what: str, trust: str, *, verified: bool) -> None:
    if trust == "code" or (trust == "signed" and verified):
        return
    if trust == "signed":
        raise CodeRefused(
            f"{what}, and {TRUST_VARIABLE}=signed allows that for models whose signature was"
            f" verified; name the public key in {KEY_VARIABLE}, or set {TRUST_VARIABLE}=code to run"
            f" the code of any model"
        )
    raise CodeRefused(
        f"{what}, and {TRUST_VARIABLE} is {trust}: no code of a model runs. Set"
        f" {TRUST_VARIABLE}=signed and {KEY_VARIABLE} to run that of models that you signed, or"
        f" {TRUST_VARIABLE}=code to run that of any; or package the model so that it compiles"
    )
