"""Where Kubeflow Pipelines is and how it is spoken to: `KFP_ENDPOINT`, `KFP_NAMESPACE`, `KFP_TOKEN` and `KFP_CA`, read once.

KFP's public HTTP API is called as it is. The SDK's own client prints, repeats requests for half a minute where nobody answers, and lets a
file in the home folder override the namespace.
"""

import json
import os
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import certifi
import urllib3
from urllib3.exceptions import HTTPError, ProtocolError, SSLError
from urllib3.exceptions import TimeoutError as HttpTimeout

from driftloop.errors import InputError

DEFAULT_ENDPOINT = "http://localhost:8080"
DEFAULT_NAMESPACE = "kubeflow"
API = "/apis/v2beta1"
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 60.0
#: The version that the pipelines are compiled for and tested with.
TESTED = "2.17"
PAUSES_S = (0.3, 1.0)
LONGEST_ANSWER = 300
#: What KFP's UI answers to somebody it does not know by name.
SIGNED_OUT = (401, 403)
#: Between these two a refusal of KFP's says who was refused; what follows is Go.
BEFORE_WHO, AFTER_WHO = "PermissionDenied: ", " with reason: ("


class ClusterError(InputError):
    """KFP was not reached or refused a request; `status` is the HTTP status, 0 where there was no answer."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later: nothing answered, or a server that is not ready."""
        return self.status in (0, 408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Server:
    """What answers at the endpoint."""

    version: str
    """KFP's; "" where it does not say."""
    multi_user: bool
    """Whether it serves several users."""

    @property
    def tested(self) -> bool:
        """Whether driftloop is tested with this version."""
        return f"{self.version}.".startswith(f"{TESTED}.")


@dataclass(frozen=True)
class ClusterConnection:
    """KFP's address and what is needed to speak to it; contacts nobody until it is used. The token appears in no text.

    The endpoint is that of KFP's UI, which hands requests on to the API and to the metadata store. The API's own will do, too, but for a
    run's reports, which only the metadata store can find.
    """

    endpoint: str = DEFAULT_ENDPOINT
    """KFP's address."""
    namespace: str = DEFAULT_NAMESPACE
    """Where runs happen."""
    token: str = field(default="", repr=False)
    """The bearer token of a person or a service account; "" for none."""
    ca: str = ""
    """File of the authority that signed the endpoint's certificate; "" for the public ones."""

    @classmethod
    def from_environment(cls) -> Self:
        """The connection that the KFP_* variables describe.

        Raises:
            InputError: an address that is not a URL, or a CA file that is not there.
        """
        given = {name: os.environ.get(f"KFP_{name}", "").strip() for name in ("ENDPOINT", "NAMESPACE", "TOKEN", "CA")}
        endpoint = (given["ENDPOINT"] or DEFAULT_ENDPOINT).rstrip("/")
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
            raise InputError(
                "KFP_ENDPOINT is not the URL of a server; write it like http://localhost:8080 or https://kubeflow.example.org/pipeline"
            )
        if any(character.isspace() or ord(character) > 126 for character in given["TOKEN"]):
            raise InputError("KFP_TOKEN holds a character that no token has; set it to the token alone, without quotes or line breaks")
        if given["CA"] and not Path(given["CA"]).is_file():
            raise InputError(f"KFP_CA: {given['CA']} is not a file; name the file with the certificate of the endpoint's authority")
        if given["CA"]:
            try:
                ssl.create_default_context(cafile=given["CA"])
            except (ssl.SSLError, OSError):
                raise InputError(f"KFP_CA: {given['CA']} holds no certificate (PEM); name the file of the endpoint's authority") from None
        return cls(endpoint, given["NAMESPACE"] or DEFAULT_NAMESPACE, given["TOKEN"], given["CA"])

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        return urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=self.ca or os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )

    @cached_property
    def server(self) -> Server:
        """What answers, after checking that it is KFP 2 and accepts this token.

        Raises:
            ClusterError: nothing answers, something else does, or the token is refused.
        """
        health = self.call("GET", f"{API}/healthz")
        if health.get("apiServerReady") is False:
            raise ClusterError(f"{self.endpoint}: KFP's UI answers, its API server does not; see `kubectl -n kubeflow get pods`", 503)
        if "multi_user" not in health and "apiServerMultiUser" not in health:
            raise ClusterError(f"{self.endpoint} is not Kubeflow Pipelines 2; check KFP_ENDPOINT", 404)
        tags = (str(health.get(name, "")) for name in ("tag_name", "apiServerTagName", "frontendTagName"))
        version = next((tag for tag in tags if tag[:1].isdigit()), "")
        if version and not version.startswith("2."):
            raise ClusterError(f"{self.endpoint} is Kubeflow Pipelines {version}; driftloop needs 2.x and is tested with {TESTED}", 404)
        server = Server(version, bool(health.get("multi_user", health.get("apiServerMultiUser"))))
        # The health page is open to everybody; a list is not.
        self.call("GET", f"{API}/experiments", {"page_size": 1} | ({"namespace": self.namespace} if server.multi_user else {}))
        return server

    @property
    def scope(self) -> dict[str, str]:
        """The namespace as a query, where KFP serves several users; a single-user KFP refuses to be asked by namespace."""
        return {"namespace": self.namespace} if self.server.multi_user else {}

    def call(self, method: str, path: str, query: dict[str, Any] | None = None, body: Any = None) -> dict[str, Any]:
        """Send JSON and read JSON.

        Raises:
            ClusterError: no answer, or one that refuses; one line.
        """
        content = None if body is None else json.dumps(body).encode()
        return self._decoded(self._send(method, path, query, content, {"Content-Type": "application/json"} if content else {}))

    def listed(self, path: str, key: str, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The entries of a list, under `key` in each of its pages, which are asked for as they are needed; raises as `call`."""
        token = ""
        while True:
            page = self.call("GET", path, query | ({"page_token": token} if token else {}))
            yield from page.get(key, [])
            token = page.get("next_page_token", "")
            if not token:
                return

    def upload(self, path: str, query: dict[str, Any], name: str, text: str) -> dict[str, Any]:
        """Send a file as a form does, and read JSON; raises as `call`."""
        content, kind = urllib3.encode_multipart_formdata({"uploadfile": (name, text.encode(), "application/yaml")})
        return self._decoded(self._send("POST", path, query, content, {"Content-Type": kind}))

    def read(self, path: str, query: dict[str, Any] | None = None, body: bytes | None = None, kind: str = "") -> bytes:
        """The bytes of an answer, to a GET, or to a POST of `body`, of content type `kind`; raises as `call`."""
        return self._send("POST" if body is not None else "GET", path, query, body, {"Content-Type": kind} if kind else {}, reads=True)

    @property
    def root(self) -> Self:
        """The same without the endpoint's path."""
        parts = urlsplit(self.endpoint)
        return replace(self, endpoint=f"{parts.scheme}://{parts.netloc}")

    def address(self, page: str) -> str:
        """The address of a page of the UI."""
        return f"{self.endpoint}/#/{page}"

    def _send(
        self, method: str, path: str, query: dict[str, Any] | None, body: bytes | None, headers: dict[str, str], *, reads: bool = False
    ) -> bytes:
        url = self.endpoint + quote(path, safe="/:") + (f"?{urlencode(query)}" if query else "")
        authorised = headers | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        # A port-forward and the UI's proxy break connections now and then; what only reads is asked for again.
        pauses = PAUSES_S if reads or method == "GET" else ()
        for pause in (*pauses, None):
            try:
                answer = self._pool.request(method, url, body=body, headers=authorised, redirect=False)
            except (HTTPError, OSError) as error:
                if pause is None or not isinstance(error, ProtocolError):
                    raise ClusterError(self._unreached(error)) from None
            else:
                if pause is None or answer.status not in (502, 503, 504):
                    break
            time.sleep(pause)
        if answer.status >= 300:
            raise ClusterError(self._refused(answer.status, answer.data, path), answer.status)
        return answer.data

    def _decoded(self, data: bytes) -> dict[str, Any]:
        try:
            content = json.loads(data or b"{}")
        except ValueError:
            content = None
        if not isinstance(content, dict):
            login = " or the page of a login" if b"<html" in data[:2000].lower() else ""
            raise ClusterError(
                f"{self.endpoint} answers, but not like Kubeflow Pipelines: another product{login}; check KFP_ENDPOINT and KFP_TOKEN", 404
            )
        return content

    def _unreached(self, error: Exception) -> str:
        text = str(error)
        if isinstance(error, SSLError):
            return f"no trusted TLS connection to {self.endpoint}; name the CA's file in KFP_CA, or check http/https in KFP_ENDPOINT"
        # Looked for first: urllib3 counts a refused connection among the time-outs.
        signs = ("Connection refused", "Failed to resolve", "No route to host", "Network is unreachable", "Connection reset")
        cause = next(
            (sign.lower() for sign in signs if sign in text),
            "no answer in time" if isinstance(error, HttpTimeout) else "the connection broke",
        )
        return f"cannot reach Kubeflow Pipelines at {self.endpoint} ({cause}); check KFP_ENDPOINT, and that the cluster runs"

    def _refused(self, status: int, data: bytes, path: str) -> str:
        if status in (301, 302, 303, 307, 308, 401) or (status == 403 and not self.token):
            cure = (
                "KFP_TOKEN is refused, it may have expired or be meant for another audience"
                if self.token
                else "it wants a token: set KFP_TOKEN"
            )
            return f"{self.endpoint} lets nobody in without signing in; {cure}"
        message = _message(data)
        if status == 403:
            who = message.partition(AFTER_WHO)[0].rpartition(BEFORE_WHO)[2]
            unset = self.namespace == DEFAULT_NAMESPACE and "KFP serves several users: set KFP_NAMESPACE to your profile's namespace"
            cure = unset or "check KFP_NAMESPACE, and what this token may do there"
            return f"{self.endpoint}: this token may not do that in namespace {self.namespace} ({who}); {cure}"
        if status == 404 and not message:
            return f"{self.endpoint} has no {path}: not Kubeflow Pipelines 2, or its API is under another path; check KFP_ENDPOINT"
        return f"{self.endpoint} answers {status}: {message or 'nothing more'}"


def _message(data: bytes) -> str:
    """KFP's own words about a request that failed, as one line; "" where the answer is not KFP's."""
    try:
        content = json.loads(data)
        text = content.get("message") or content.get("error_message") or content.get("error") or ""
    except (ValueError, AttributeError):
        return ""
    line = " ".join(str(text).split())
    return line if len(line) <= LONGEST_ANSWER else f"{line[:LONGEST_ANSWER]}..."
