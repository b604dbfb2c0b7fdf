"""The directory of a model, in S3 or on disk, read as KServe's storage initializer reads it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from pyfunc_packaging.errors import (
    BucketNotFound,
    FilesMissing,
    InvalidModelUri,
    MissingDependency,
    ResolveError,
    StorageDenied,
    StorageUnreachable,
)

_T = TypeVar("_T")
#: Codes with which S3 services say that the credentials do not do.
_DENIED = {
    "403",
    "AccessDenied",
    "ExpiredToken",
    "Forbidden",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
}
_WRONG_REGION = {
    "301",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
}


class Folder(Protocol):
    """What a model's directory can be asked."""

    @property
    def uri(self) -> str:
        """Where it is, without a slash at its end."""

    def sizes(self) -> Mapping[str, int]:
        """Size of every file in it, by path relative to it."""

    def read(self, name: str) -> bytes:
        """Content of a file in it."""

    def siblings(self) -> tuple[str, ...]:
        """Other things beside it that KServe's storage initializer would download with it."""


@dataclass(frozen=True)
class LocalFolder:
    """A directory on this machine."""

    path: Path

    @property
    def uri(self) -> str:
        """The path."""
        return str(self.path)

    def sizes(self) -> Mapping[str, int]:
        """Size of every file, by path relative to the directory."""
        if not self.path.is_dir():
            raise FilesMissing(f"{self.path}: no such directory on this machine")
        return {
            file.relative_to(self.path).as_posix(): file.stat().st_size
            for file in sorted(self.path.rglob("*"))
            if file.is_file()
        }

    def read(self, name: str) -> bytes:
        """Content of a file."""
        return (self.path / name).read_bytes()

    def siblings(self) -> tuple[str, ...]:
        """None: a directory is copied alone."""
        return ()


@dataclass(frozen=True)
class S3Folder:
    """A prefix in a bucket; ``client`` is a boto3 S3 client, ``endpoint`` what to call it."""

    bucket: str
    prefix: str
    client: Any
    endpoint: str

    @property
    def uri(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def sizes(self) -> Mapping[str, int]:
        """Size of every object below the prefix; folder markers left out."""
        start = f"{self.prefix}/" if self.prefix else ""

        def list_objects() -> dict[str, int]:
            pager = self.client.get_paginator("list_objects_v2")
            pages = list(pager.paginate(Bucket=self.bucket, Prefix=start))
            if not any("IsTruncated" in page for page in pages):
                # a web page with status 200 is read as a listing of nothing
                raise StorageUnreachable(self._expected("something that is not S3's XML"))
            return {
                entry["Key"].removeprefix(start): int(entry["Size"])
                for page in pages
                for entry in page.get("Contents", ())
                if not entry["Key"].endswith("/")
            }

        return self._ask("listing", list_objects)

    def read(self, name: str) -> bytes:
        """Content of an object."""
        key = f"{self.prefix}/{name}" if self.prefix else name

        def get() -> bytes:
            content: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            return content

        return self._ask(f"reading {name} of", get)

    def siblings(self) -> tuple[str, ...]:
        """Keys that begin with the same characters, as ``…/artifacts2`` does with ``…/artifacts``.

        The storage initializer compares characters, not folders, and downloads them too.
        """
        if not self.prefix:
            return ()

        def list_siblings() -> tuple[str, ...]:
            # one page: the first thousand say enough
            page = self.client.list_objects_v2(
                Bucket=self.bucket, Prefix=self.prefix, Delimiter="/"
            )
            found = [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
            found += [entry["Key"] for entry in page.get("Contents", ())]
            return tuple(
                f"s3://{self.bucket}/{key}" for key in sorted(found) if key != f"{self.prefix}/"
            )

        return self._ask("listing", list_siblings)

    def _ask(self, action: str, call: Callable[[], _T]) -> _T:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            return call()
        except ClientError as error:
            raise self._refusal(action, error) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise self._failure(action, error) from error

    def _refusal(self, action: str, error: Any) -> ResolveError:
        """The S3 service answered with an error."""
        what = f"{action} {self.uri} at {self.endpoint}"
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code == "NoSuchBucket":
            return BucketNotFound(
                f"{what}: there is no bucket {self.bucket!r}; check its name, and the endpoint"
                f" (AWS_ENDPOINT_URL or MLFLOW_S3_ENDPOINT_URL)"
            )
        if code in _WRONG_REGION:
            return StorageUnreachable(
                f"{what}: the service answered {code}; the bucket is in another region, set"
                f" AWS_DEFAULT_REGION"
            )
        if code in _DENIED or status in (401, 403):
            return StorageDenied(
                f"{what}: the service answered {code or status}; pass credentials that may list and"
                f" read it (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role)"
            )
        if code == "NoSuchKey":
            return FilesMissing(f"{what}: it is gone; was it deleted a moment ago?")
        return StorageUnreachable(
            f"{what}: the service answered {code or status}, which no S3 service should; check the"
            f" endpoint (AWS_ENDPOINT_URL or MLFLOW_S3_ENDPOINT_URL)"
        )

    def _failure(self, action: str, error: Exception) -> ResolveError:
        """There was no answer, or none that is S3's."""
        from botocore import exceptions

        what = f"{action} {self.uri} at {self.endpoint}"
        if isinstance(
            error,
            exceptions.NoCredentialsError
            | exceptions.PartialCredentialsError
            | exceptions.CredentialRetrievalError
            | exceptions.TokenRetrievalError,
        ):
            return StorageDenied(
                f"{what}: no usable credentials here ({_first_line(error)}); set AWS_ACCESS_KEY_ID"
                f" and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            )
        if isinstance(error, exceptions.ParamValidationError):
            return InvalidModelUri(
                f"{self.uri}: expected s3://bucket/prefix, found no possible bucket name"
                f" {self.bucket!r}"
            )
        if not isinstance(error, exceptions.BotoCoreError):
            return StorageUnreachable(self._expected("something that is not S3's XML"))
        reason = _first_line(error).partition(': "http')[0].lower()
        return StorageUnreachable(self._expected(f"no answer ({reason})"))

    def _expected(self, found: str) -> str:
        return (
            f"listing {self.uri} at {self.endpoint}: expected an S3 service, found {found}; set"
            f" AWS_ENDPOINT_URL (or MLFLOW_S3_ENDPOINT_URL) to one, or pass --no-check to skip the"
            f" check"
        )


def open_folder(uri: str) -> Folder:
    """The folder at an ``s3://`` URI, or at a path on this machine.

    S3 is reached with the settings that KServe's storage initializer uses: the endpoint from
    ``MLFLOW_S3_ENDPOINT_URL`` or ``AWS_ENDPOINT_URL``, region and credentials as boto3 finds them.

    Raises
    ------
    MissingDependency
        If boto3 is needed and not installed.
    ResolveError
        If the settings make no sense.

    Examples
    --------
    >>> open_folder("/srv/models/price").uri
    '/srv/models/price'
    """
    parts = urlsplit(uri)
    if parts.scheme != "s3":
        return LocalFolder(Path(uri))
    bucket, prefix = split_s3(uri)
    try:
        client, endpoint = _connect()
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "looking into S3 needs boto3, which is not installed here; install"
            " mlserver-pyfunc[packaging], or pass --no-check"
        ) from error
    return S3Folder(bucket, prefix, client, endpoint)


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and prefix of an ``s3://`` URI, without a slash at either end.

    Examples
    --------
    >>> split_s3("s3://models/price/v1/")
    ('models', 'price/v1')
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise InvalidModelUri(f"{uri}: expected s3://bucket/prefix, found no bucket")
    return bucket, prefix.strip("/")


def _connect() -> tuple[Any, str]:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    env = os.environ
    # the names that the storage initializer reads; patience of a person's terminal, not of a pod
    config = Config(
        connect_timeout=float(env.get("S3_CONNECT_TIMEOUT", "3")),
        read_timeout=float(env.get("S3_READ_TIMEOUT", "5")),
        retries={"total_max_attempts": int(env.get("S3_MAX_ATTEMPTS", "2")), "mode": "standard"},
    )
    if env.get("awsAnonymousCredential", "").lower() == "true":
        config = config.merge(Config(signature_version=UNSIGNED))
    if env.get("S3_USER_VIRTUAL_BUCKET", "").lower() == "true":
        config = config.merge(Config(s3={"addressing_style": "virtual"}))
    insecure = env.get("S3_VERIFY_SSL", "true").lower() in ("0", "false")
    insecure = insecure or env.get("MLFLOW_S3_IGNORE_TLS", "").lower() in ("1", "true")
    try:
        # a session of its own: the default one keeps the credentials that it found first
        client = boto3.Session().client(
            "s3",
            config=config,
            endpoint_url=env.get("MLFLOW_S3_ENDPOINT_URL") or None,
            verify=False if insecure else None,
        )
    except (BotoCoreError, ValueError) as error:
        raise StorageUnreachable(
            f"the S3 settings here make no sense: {_first_line(error)}; look at AWS_ENDPOINT_URL,"
            f" MLFLOW_S3_ENDPOINT_URL, AWS_DEFAULT_REGION and AWS_PROFILE"
        ) from error
    return client, str(client.meta.endpoint_url)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())
