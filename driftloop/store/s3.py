"""A store in an S3 bucket; MinIO is the reference server.

Conditional writes are PUTs with `If-None-Match: *` or `If-Match: <tag>`, every header and the content signed
(`driftloop.store.s3_connection`). A request whose answer was lost may have taken effect: a conditional write that is repeated after
such a fault and then refused is settled by reading the object back. Racing writers are told apart by their content, so that needs a
nonce.
"""

import contextlib
import functools
import itertools
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path

import urllib3
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, S3Error, ServerError

from driftloop.errors import Conflict, NotFound, StoreError
from driftloop.store.interface import ObjectInfo, cannot_follow, checked_key
from driftloop.store.s3_conditions import PROOF, prove_conditions
from driftloop.store.s3_connection import connect_s3, s3_endpoint
from driftloop.store.s3_faults import CLIENT_FAULTS, S3_PATIENCE_S, Answer, NoBucket, explained_fault, retry

#: Above this size uploads go in parts, three at a time.
PART_BYTES = 16 << 20
CHUNK_BYTES = 1 << 20
LIST_PAGE = 1000
#: The most keys that S3 takes in one request.
DELETE_BATCH = 1000
#: Objects that a rule of the bucket may let expire, and the tag that it finds them by: a rule knows no patterns, and one for each store
#: would soon be too many. The rule is made in k8s/minio/setup.py.
EXPIRING, EXPIRING_TAG = "logs/", {"x-amz-tagging": "driftloop=log"}
#: A person waits for `check`: it gives up sooner than a running step does.
CHECK_PATIENCE_S = 3.0

BUCKET_NAME = re.compile("[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class S3Store:
    """See `Store`. No server is contacted before the first use.

    A bucket that does not exist reads like an empty store, and the first write creates it where the credentials allow that; a person
    without that right reads who must create it.
    """

    def __init__(
        self, bucket: str, prefix: str = "", *, patience_s: float = S3_PATIENCE_S, environment: Mapping[str, str] = os.environ
    ) -> None:
        prefix = prefix.strip("/")
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        if not BUCKET_NAME.fullmatch(bucket) or ".." in bucket:
            raise StoreError(f"s3://{bucket}: not a bucket's name (3 to 63 of a-z, 0-9, '-', '.'); write s3://bucket/prefix")
        self._bucket = bucket
        self._prefix = f"{checked_key(prefix)}/" if prefix else ""
        self._patience_s = patience_s
        self._may_tag = True
        self._server = s3_endpoint(environment)
        self._client = connect_s3(self.uri, environment)

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        return self.read_tagged(key)[0]

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        """See `Store.read_tagged`. The tag is the object's ETag."""

        def attempt(_: bool) -> tuple[bytes, str]:
            with self._response(key) as response:
                return response.read(), response.headers["etag"].strip('"')

        return self._retry(attempt, key)

    def create(self, key: str, data: bytes) -> str:
        """See `Store.create`."""
        self._prove_conditions()
        return self._create(key, data)

    def replace(self, key: str, data: bytes, tag: str) -> str:
        """See `Store.replace`."""
        self._prove_conditions()
        return self._replace(key, data, tag)

    def put(self, key: str, data: bytes) -> None:
        """See `Store.put`."""
        self._write(lambda _: self._client.put_object(self._bucket, self._name(key), BytesIO(data), len(data), part_size=PART_BYTES), key)

    def upload(self, key: str, path: str | Path) -> None:
        """See `Store.upload`. In memory are at most a handful of parts of 16 MiB, each hashed before it is sent."""

        def attempt(_: bool) -> None:
            with open(path, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                written = self._client.put_object(self._bucket, self._name(key), stream, size, part_size=PART_BYTES)
            if size > PART_BYTES and not written.etag:
                # S3 answers 200 before it has put the parts together, and may then still fail, in the answer's body.
                raise ServerError("the parts of an upload were not put together", 500)

        self._write(attempt, key)

    def download(self, key: str, path: str | Path) -> None:
        """See `Store.download`."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")

        def attempt(_: bool) -> None:
            with self._response(key) as response, open(partial, "wb") as stream:
                for chunk in response.stream(CHUNK_BYTES):
                    stream.write(chunk)

        try:
            self._retry(attempt, key)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        try:
            self._retry(lambda _: self._client.stat_object(self._bucket, self._name(key)), key)
        except NotFound:
            return False
        return True

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        """See `Store.list`. Each page is asked for, and retried, by itself."""
        # MinIO finds nothing when the key to start after lies outside the prefix.
        if cannot_follow(prefix, after):
            return
        after = after if after.startswith(prefix) else ""
        while True:
            page = self._page(prefix, after, self._patience_s)
            yield from (info for info in page if "/." not in f"/{info.key}")
            if len(page) < LIST_PAGE:
                return
            after = page[-1].key

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        with contextlib.suppress(NoBucket):
            self._retry(lambda _: self._client.remove_object(self._bucket, self._name(key)), key)

    def delete_many(self, keys: Iterable[str]) -> None:
        """See `Store.delete_many`. Each batch is sent, and retried, by itself."""
        names = (self._name(key) for key in keys)
        while batch := tuple(itertools.islice(names, DELETE_BATCH)):
            with contextlib.suppress(NoBucket):
                self._retry(functools.partial(self._delete_batch, batch))

    def check(self, prefix: str = "") -> None:
        """See `Store.check`. A missing bucket is not an obstacle: the first write creates it."""
        self._page(prefix, "", CHECK_PATIENCE_S)

    def _delete_batch(self, names: tuple[str, ...], _: bool) -> None:
        """One request; an object that it did not remove is an error like that of a request of its own."""
        for error in self._client.remove_objects(self._bucket, [DeleteObject(name) for name in names]):
            fault = S3Error(None, error.code, error.message, None, None, None)
            raise explained_fault(fault, what=f"s3://{self._bucket}/{error.name}", server=self._server, bucket=self._bucket)

    def _name(self, key: str) -> str:
        return self._prefix + (key if key == PROOF else checked_key(key))

    def _prove_conditions(self) -> None:
        prove_conditions(self._server, self.uri, _Proof(self))

    @contextlib.contextmanager
    def _response(self, key: str) -> Iterator[urllib3.BaseHTTPResponse]:
        """The open answer to a GET, which is given back to the pool in the end, or closed where it was not read to its end."""
        response = self._client.get_object(self._bucket, self._name(key))
        try:
            yield response
        except BaseException:
            response.close()
            raise
        finally:
            response.release_conn()

    def _page(self, prefix: str, after: str, patience_s: float) -> tuple[ObjectInfo, ...]:
        """At most LIST_PAGE objects, such as have names that no key can have among them."""

        def attempt(_: bool) -> tuple[ObjectInfo, ...]:
            start = self._prefix + after if after else None
            listed = self._client.list_objects(self._bucket, self._prefix + prefix, recursive=True, start_after=start)
            return tuple(
                ObjectInfo(entry.object_name.removeprefix(self._prefix), entry.size, entry.last_modified)
                for entry in itertools.islice(listed, LIST_PAGE)
            )

        try:
            return self._retry(attempt, patience_s=patience_s)
        except NoBucket:
            return ()

    def _create(self, key: str, data: bytes) -> str:
        return self._write_if(key, data, {"If-None-Match": "*"}, "exists already")

    def _replace(self, key: str, data: bytes, tag: str) -> str:
        return self._write_if(key, data, {"If-Match": f'"{tag}"'}, "changed since it was read")

    def _write_if(self, key: str, data: bytes, condition: dict[str, str], otherwise: str) -> str:
        """A conditional PUT; its tag, or `Conflict` with `otherwise`."""

        def attempt(retried: bool) -> str:
            try:
                return self._tagged(key, lambda tag: self._put(key, data, condition | tag))
            except Conflict:
                tag = self._own_tag(key, data) if retried else None
                if tag is None:
                    raise Conflict(f"{self.uri}/{key}: {otherwise}") from None
                return tag

        return self._write(attempt, key)

    def _tagged(self, key: str, write: Callable[[dict[str, str]], str]) -> str:
        """Write with the tag by which logs expire, or without where the server has no tags, or these credentials may not set any."""
        if not key.startswith(EXPIRING) or not self._may_tag:
            return write({})
        try:
            return write(EXPIRING_TAG)
        except S3Error as fault:
            if fault.code not in ("NotImplemented", "AccessDenied"):
                raise
        tag = write({})
        self._may_tag = False
        return tag

    def _put(self, key: str, data: bytes, condition: dict[str, str]) -> str:
        """One conditional PUT; its tag. Raises `Conflict` when the condition does not hold."""
        response = self._client.put_if(self._bucket, self._name(key), data, condition)
        if response.status == 200:
            return response.headers["etag"].strip('"')
        if response.status == 412:
            raise Conflict(key)
        kind = response.headers.get("content-type", "")
        if "xml" not in kind or not response.data:
            raise InvalidResponseError(response.status, kind, None)
        fault = S3Error.fromxml(response)
        if fault.code == "NoSuchKey":
            raise Conflict(key)
        raise fault

    def _own_tag(self, key: str, data: bytes) -> str | None:
        """The object's tag where it holds just our bytes: then a write whose answer was lost has won."""
        try:
            with self._response(key) as response:
                return response.headers["etag"].strip('"') if response.read() == data else None
        except S3Error as fault:
            if fault.code == "NoSuchKey":
                return None
            raise

    def _write(self, attempt: Callable[[bool], Answer], key: str) -> Answer:
        """Like `_retry`, and creates the bucket when it turns out to be missing."""
        try:
            return self._retry(attempt, key)
        except NoBucket as missing:
            self._create_bucket(missing)
            return self._retry(attempt, key)

    def _create_bucket(self, missing: NoBucket) -> None:
        def attempt(_: bool) -> None:
            try:
                self._client.make_bucket(self._bucket)
            except S3Error as fault:
                if fault.code == "AccessDenied":
                    raise StoreError(f"{missing}; these credentials may not") from None
                # Another writer was faster, or our own request took effect before its answer was lost.
                if fault.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

        self._retry(attempt)

    def _retry(self, attempt: Callable[[bool], Answer], key: str = "", patience_s: float | None = None) -> Answer:
        """`retry`, with the client's errors explained."""

        def explaining(retried: bool) -> Answer:
            try:
                return attempt(retried)
            except CLIENT_FAULTS as fault:
                what = f"{self.uri}/{key}" if key else self.uri
                raise explained_fault(fault, what=what, server=self._server, bucket=self._bucket) from None

        return retry(explaining, patience_s=self._patience_s if patience_s is None else patience_s)


class _Proof:
    """See `ProofObject`."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def read(self) -> tuple[bytes, str]:
        return self._store.read_tagged(PROOF)

    def create(self, data: bytes) -> str:
        return self._store._create(PROOF, data)

    def replace(self, data: bytes, tag: str) -> str:
        return self._store._replace(PROOF, data, tag)
