"""The S3 store of a remote: list, read, hash and probe it, with errors that say what to do next.

In: a remote's address (`s3://bucket/prefix`) and the server's endpoint. The key comes from the
environment or a profile, as boto3 finds it; it is never an argument, so it is in no message.
Why not boto3 alone: its errors name an API call, where a user needs the variable, bucket or address.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as UnreachableError

from tasks.contracts import DefectoryError
from tasks.store.addresses import check_address, without_credentials

KEY_VARIABLES = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
CHECKSUM_VARIABLES = {
    # Since 1.36 boto3 sends checksum headers by default, which many S3 servers other than Amazon's refuse.
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}
_REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "Forbidden", "403", "ExpiredToken"}
_NO_BUCKET = {"NoSuchBucket", "404"}
_FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "507"}
_BUSY = {"InternalError", "ServiceUnavailable", "SlowDown", "500", "502", "503", "504"}
_READ_SIZE = 8 << 20


class MissingObjectError(DefectoryError):
    """There is no such object; whoever looks for one that may be gone catches this."""


class UnreachableStoreError(DefectoryError):
    """The server does not answer, or not now; whoever can wait for it catches this."""


@dataclass(frozen=True)
class StoredObject:
    """What a listing tells about one object."""

    size: int
    """Bytes."""
    etag: str
    """The content's MD5 in hex where the object came in one part; holds a `-` where it came in several."""


class Store:
    """One bucket and prefix of an S3 server. Keys are relative to the prefix."""

    def __init__(self, url: str, endpoint: str | None = None) -> None:
        """Raises DefectoryError when `url` is no `s3://bucket/prefix`, `endpoint` no http address, or one has a key."""
        self.bucket, self.prefix = _split(url)
        self.url, self.endpoint = url, endpoint
        self._client = _client(endpoint)

    def listing(self, below: str = "") -> dict[str, StoredObject]:
        """Every object whose key begins with `below`, by key."""
        with self._clear_errors("list"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._key(below), PaginationConfig={"PageSize": 1000}
            )
            return {
                item["Key"].removeprefix(self._key("")): StoredObject(item["Size"], item["ETag"].strip('"'))
                for page in pages
                for item in page.get("Contents", [])
            }

    def read(self, key: str) -> bytes:
        with self._clear_errors("read", key):
            body: bytes = self._client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"].read()
            return body

    def write(self, key: str, data: bytes) -> None:
        with self._clear_errors("write", key):
            self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data)

    def upload(self, path: Path, key: str) -> None:
        """Send a file of any size; its object appears whole or not at all."""
        with self._clear_errors("write", key), path.open("rb") as file:
            self._client.upload_fileobj(file, self.bucket, self._key(key))

    def download(self, key: str, path: Path) -> None:
        """Write an object of any size to `path`, which is incomplete until this returns."""
        with self._clear_errors("read", key), path.open("wb") as file:
            for piece in self._client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"].iter_chunks(
                _READ_SIZE
            ):
                file.write(piece)

    def read_range(self, key: str, start: int, stop: int) -> bytes:
        """The object's bytes from `start` up to `stop`, which is not included."""
        return self._read_range(key, f"bytes={start}-{stop - 1}")[0]

    def read_end(self, key: str, count: int) -> tuple[bytes, int]:
        """The last `count` bytes of an object, all of a shorter one; and how many bytes it has."""
        return self._read_range(key, f"bytes=-{count}")

    def _read_range(self, key: str, wanted: str) -> tuple[bytes, int]:
        with self._clear_errors("read", key):
            answer = self._client.get_object(Bucket=self.bucket, Key=self._key(key), Range=wanted)
            body: bytes = answer["Body"].read()
        whole = str(answer.get("ContentRange", "")).rpartition("/")[2]  # absent where all of it is sent
        return body, int(whole or len(body))

    def md5(self, key: str) -> str:
        """The MD5 of an object's bytes, in hex, read in pieces."""
        digest = hashlib.md5(usedforsecurity=False)
        with self._clear_errors("read", key):
            body = self._client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"]
            for piece in body.iter_chunks(_READ_SIZE):
                digest.update(piece)
        return digest.hexdigest()

    def delete(self, key: str) -> None:
        with self._clear_errors("delete", key):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(key))

    def check_readable(self) -> None:
        """Raises DefectoryError when the server, the key or the bucket is not as it should be."""
        with self._clear_errors("list"):
            self._client.list_objects_v2(Bucket=self.bucket, Prefix=self._key(""), MaxKeys=1)

    def probe(self) -> None:
        """Put, get and delete one small object: after this, a push fails for lack of space or network only."""
        self.check_readable()
        key, content = f".probe-{secrets.token_hex(8)}", secrets.token_bytes(64)
        with self._clear_errors("write", key):
            self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=content)
        try:
            if self.read(key) != content:
                raise DefectoryError(f"the store at {self._where()} does not return the bytes it was given")
        finally:
            self.delete(key)

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _where(self) -> str:
        return self.endpoint or f"s3://{self.bucket}"

    @contextmanager
    def _clear_errors(self, action: str, key: str = "") -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            kind = (
                MissingObjectError
                if code == "NoSuchKey"
                else UnreachableStoreError
                if code in _BUSY
                else DefectoryError
            )
            raise kind(self._refusal(code, action, key)) from None
        except NoCredentialsError:
            raise DefectoryError(
                f"no key for the store at {self._where()}: set {KEY_VARIABLES}, or AWS_PROFILE"
            ) from None
        except (HTTPClientError, UnreachableError) as error:
            raise UnreachableStoreError(
                f"the store at {self._where()} does not answer ({type(error).__name__}): "
                "start it, or correct the remote's endpoint"
            ) from None
        except CredentialRetrievalError as error:
            raise DefectoryError(_without_key(error)) from None
        except BotoCoreError as error:
            reason = without_credentials(str(error))
            raise DefectoryError(f"the store at {self._where()}: cannot {action} {key or self.url}: {reason}") from None

    def _refusal(self, code: str, action: str, key: str) -> str:
        where = self._where()
        if code in _REFUSED:
            return f"the store at {where} refuses the key ({code}): check {KEY_VARIABLES}, and its rights to {action}"
        if code == "NoSuchKey":
            return f"the store at {where} has no object {key} below {self.url}: push the version again"
        if code in _NO_BUCKET:
            return f"the store at {where} has no bucket '{self.bucket}': create it, or correct the remote's address"
        if code in _FULL:
            return f"the store at {where} has no space left ({code}): free some, then run this again"
        return f"the store at {where} cannot {action} {key or self.url} ({code})"


def check_endpoint(endpoint: str) -> str:
    """Return `endpoint` when it holds no credentials, which dvc would write down; else raise DefectoryError."""
    return check_address(endpoint, "endpoint", f"set {KEY_VARIABLES} instead")


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(check_address(url, "remote address", f"set {KEY_VARIABLES} instead"))
    if parts.scheme != "s3" or not parts.netloc:
        # With an https address dvc says "everything is up to date" and uploads nothing.
        raise DefectoryError(
            f"remote address {url!r}: expected s3://bucket/prefix; the server's http address is the endpoint"
        )
    return parts.netloc, parts.path.strip("/")


def _without_key(error: CredentialRetrievalError) -> str:
    """Not the error's own text: that has all that a program which gives keys wrote to its error stream."""
    return f"no key for the store: {error.kwargs.get('provider', 'its provider')} failed; try it on its own"


def _client(endpoint: str | None) -> Any:
    if endpoint is not None and urlsplit(check_endpoint(endpoint)).scheme not in ("http", "https"):
        raise DefectoryError(f"endpoint {endpoint!r}: expected an address such as http://127.0.0.1:8333")
    mode = {key.removeprefix("AWS_").lower(): value for key, value in CHECKSUM_VARIABLES.items()} if endpoint else {}
    config = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 2, "mode": "standard"}, **mode)
    try:
        session = boto3.Session()
        region = session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
    except ProfileNotFound as error:
        raise DefectoryError(f"{error}: correct AWS_PROFILE, or set {KEY_VARIABLES}") from None
    except CredentialRetrievalError as error:
        raise DefectoryError(_without_key(error)) from None
    except (BotoCoreError, ValueError) as error:
        reason = without_credentials(str(error))  # where there is no endpoint, that of AWS_ENDPOINT_URL
        raise DefectoryError(f"endpoint {endpoint!r} cannot be used: {reason}") from None
