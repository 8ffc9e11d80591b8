"""Keys come from where AWS's own tools look for them, and a network is asked only where something says that it has them."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest
import urllib3
from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pkcs1_15

from driftloop.errors import StoreError
from driftloop.store import open_store
from driftloop.store.s3 import S3Store
from driftloop.store.s3_connection import connect_s3, s3_credentials
from driftloop.store.s3_credentials import names_credentials
from tests.minio_server import MinioServer

URI = "s3://driftloop-tests/credentials"


@pytest.fixture
def address(minio_server: MinioServer, tmp_path: Path) -> dict[str, str]:
    """Variables that say where the server is, and no keys: nor are there any in this user's home."""
    return {"AWS_ENDPOINT_URL": minio_server.endpoint, "AWS_REGION": "us-east-1", "HOME": str(tmp_path)}


def write_keys(path: Path, access: str, secret: str, profile: str = "default") -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"[{profile}]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")


def use(environment: dict[str, str]) -> None:
    store = S3Store("driftloop-tests", "credentials", environment=environment)
    store.put("key", b"x")
    assert store.read("key") == b"x"


@pytest.mark.parametrize("names", [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")])
def test_keys_in_variables_are_used(minio_server: MinioServer, address: dict[str, str], names: tuple[str, str]) -> None:
    use(address | dict(zip(names, (minio_server.access_key, minio_server.secret_key), strict=True)))


@pytest.mark.parametrize("names", [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")])
def test_half_of_a_pair_of_keys_is_one_clear_line(address: dict[str, str], names: tuple[str, str]) -> None:
    for given, missing in (names, names[::-1]):
        with pytest.raises(StoreError, match=f"{missing} is not set; export the store's {names[0]} and {names[1]}"):
            s3_credentials(URI, address | {given: "something"})


def test_keys_in_the_users_file_are_used_and_read_again_when_they_change(minio_server: MinioServer, address: dict[str, str]) -> None:
    path = Path(address["HOME"], ".aws", "credentials")
    write_keys(path, minio_server.access_key, "wrong")
    store = S3Store("driftloop-tests", "credentials", environment=address)
    with pytest.raises(StoreError, match="refuses the credentials"):
        store.read("key")
    write_keys(path, minio_server.access_key, minio_server.secret_key)
    assert not store.exists("no such key")


def test_another_file_and_another_profile_are_named_by_variables(
    minio_server: MinioServer, address: dict[str, str], tmp_path: Path
) -> None:
    write_keys(tmp_path / "keys", minio_server.access_key, minio_server.secret_key, profile="team")
    use(address | {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "keys"), "AWS_PROFILE": "team"})


def test_variables_go_before_the_file(minio_server: MinioServer, address: dict[str, str]) -> None:
    write_keys(Path(address["HOME"], ".aws", "credentials"), "wrong", "wrong")
    use(address | {"AWS_ACCESS_KEY_ID": minio_server.access_key, "AWS_SECRET_ACCESS_KEY": minio_server.secret_key})


@pytest.mark.parametrize("content", ["", "not a file of keys", "[default]\naws_access_key_id = a\n", "[other]\naws_access_key_id = a\n"])
def test_a_file_without_the_profiles_keys_is_one_clear_line(address: dict[str, str], content: str) -> None:
    path = Path(address["HOME"], ".aws", "credentials")
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(StoreError, match=r"\.aws/credentials has no readable keys of profile 'default'; name another with AWS_PROFILE"):
        connect_s3(URI, address)


def test_no_keys_anywhere_is_one_clear_line_at_once(address: dict[str, str]) -> None:
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"AWS_ACCESS_KEY_ID is not set, nor are there keys in .*credentials; export the store's AWS_A"):
        connect_s3(URI, address)
    with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID is not set"):
        connect_s3(URI, {"HOME": address["HOME"], "AWS_EC2_METADATA_DISABLED": "true"})
    assert time.monotonic() - began < 1
    assert not names_credentials(address)


def test_whoever_has_keys_asks_nobody_for_an_identity(minio_server: MinioServer, address: dict[str, str], identity: "Identity") -> None:
    keys = {"AWS_ACCESS_KEY_ID": minio_server.access_key, "AWS_SECRET_ACCESS_KEY": minio_server.secret_key}
    use(address | keys | {"AWS_WEB_IDENTITY_TOKEN_FILE": str(identity.token), "AWS_ENDPOINT_URL_STS": identity.url})
    assert identity.asked == []


class Identity:
    """An OpenID provider, as Kubernetes is one: it signs the tokens of pods, and shows the key by which they are checked."""

    def __init__(self, folder: Path) -> None:
        self._key = RSA.generate(2048)
        self.token = folder / "token"
        self.asked: list[str] = []
        self.refusal = 403
        identity = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                identity.asked.append(self.path)
                body = json.dumps(identity.keys if self.path == "/keys" else identity.configuration).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                identity.asked.append(self.path)
                self.send_error(identity.refusal)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.sign("readwrite")

    @property
    def configuration(self) -> dict[str, object]:
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "response_types_supported": ["code"],
            "scopes_supported": ["openid"],
            "subject_types_supported": ["public"],
        }

    @property
    def keys(self) -> dict[str, object]:
        numbers = {
            name: _base64(value.to_bytes((value.bit_length() + 7) // 8, "big")) for name, value in (("n", self._key.n), ("e", self._key.e))
        }
        return {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", **numbers}]}

    def sign(self, policy: str) -> None:
        """Write a token that lets its holder do what a policy of MinIO's says."""
        claims = {"iss": self.url, "sub": "pod", "aud": "driftloop", "azp": "driftloop", "exp": int(time.time()) + 3600, "policy": policy}
        signed = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "1"}, claims))
        self.token.write_text(f"{signed}.{_base64(pkcs1_15.new(self._key).sign(SHA256.new(signed.encode())))}")

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def await_exchange(server: MinioServer, identity: Identity) -> None:
    """Wait until the server has learnt who signs tokens, which it does after it says that it is ready."""
    query = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "WebIdentityToken": identity.token.read_text()}
    deadline = time.monotonic() + 60
    with urllib3.PoolManager(retries=False) as http:
        while (answer := http.request("POST", f"{server.endpoint}?{urlencode(query)}")).status != 200:
            assert time.monotonic() < deadline, answer.data
            time.sleep(0.1)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture
def identity(tmp_path: Path) -> Iterator[Identity]:
    provider = Identity(tmp_path)
    yield provider
    provider.close()


# MinIO's client asks for the time in a way that Python 3.12 calls outdated.
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_a_pods_token_is_exchanged_for_keys_by_the_server_itself(
    tmp_path: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIO_IDENTITY_OPENID_CONFIG_URL", f"{identity.url}/.well-known/openid-configuration")
    monkeypatch.setenv("MINIO_IDENTITY_OPENID_CLIENT_ID", "driftloop")
    server = MinioServer(tmp_path / "data")
    server.start()
    try:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(identity.token))
        await_exchange(server, identity)
        store = open_store("s3://driftloop-tests/pod")
        tag = store.create("champion.json", b"one")
        store.replace("champion.json", b"two", tag)
        assert store.read("champion.json") == b"two"
        identity.token.write_text(identity.token.read_text()[:-10])
        with pytest.raises(StoreError, match=r"no keys from the token in AWS_WEB_IDENTITY_TOKEN_FILE \(refused with 4\d\d\)") as caught:
            open_store("s3://driftloop-tests/pod").read("champion.json")
        assert identity.token.read_text()[:20] not in str(caught.value)
        identity.token.unlink()
        with pytest.raises(StoreError, match="no keys from the token in AWS_WEB_IDENTITY_TOKEN_FILE"):
            open_store("s3://driftloop-tests/pod").read("champion.json")
    finally:
        server.kill()


def test_nobody_who_exchanges_a_token_is_one_clear_line(
    address: dict[str, str], identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(identity.token))
    environment = address | {"AWS_WEB_IDENTITY_TOKEN_FILE": str(identity.token), "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"}
    with pytest.raises(
        StoreError, match=r"no keys from the token in .*\(connection refused\); export .* \(gave up after 3 tries"
    ) as caught:
        S3Store("driftloop-tests", "credentials", environment=environment, patience_s=0).read("key")
    assert identity.token.read_text()[:20] not in str(caught.value)


def test_an_authority_that_is_not_there_is_one_clear_line(address: dict[str, str]) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_CA_BUNDLE": "/nowhere/ca.crt"}
    connect_s3(URI, address | keys)
    with pytest.raises(StoreError, match=r"/nowhere/ca\.crt: no such file; AWS_CA_BUNDLE names the file"):
        connect_s3(URI, address | keys | {"AWS_ENDPOINT_URL": "https://minio.example"})


@pytest.mark.parametrize(("refusal", "tries"), [(403, 1), (400, 1), (503, 3), (429, 3)])
def test_who_exchanges_tokens_and_is_busy_is_asked_again(
    address: dict[str, str], identity: Identity, monkeypatch: pytest.MonkeyPatch, refusal: int, tries: int
) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(identity.token))
    identity.refusal = refusal
    environment = address | {"AWS_WEB_IDENTITY_TOKEN_FILE": str(identity.token), "AWS_ENDPOINT_URL_STS": identity.url}
    with pytest.raises(StoreError, match=rf"no keys from the token in .*\(refused with {refusal}\)"):
        S3Store("driftloop-tests", "credentials", environment=environment, patience_s=0).read("key")
    assert len(identity.asked) == tries
