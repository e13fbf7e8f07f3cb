"""Where the cluster is and how to speak to it: kubeconfig, TLS and tokens from the official client, JSON over urllib3.

The generated methods of the client differ between its major versions; its configuration and its connection pool do not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from paceline.client.errors import ClusterError, from_response

if TYPE_CHECKING:
    import urllib3

Object = dict[str, Any]
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 30.0
SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Target:
    """Which cluster and namespace, as kubectl's flags have it. None: what the kubeconfig says."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None


class Connection:
    """Requests to one API server."""

    def __init__(self, configuration: Any, namespace: str) -> None:
        from kubernetes import client

        self._configuration = configuration
        self._pool: urllib3.PoolManager = client.ApiClient(configuration).rest_client.pool_manager
        _accept_older_authorities(self._pool.connection_pool_kw)
        self.namespace = namespace

    def get(self, path: str, *, doing: str, query: Mapping[str, Any] | None = None) -> Object:
        """Return an object or a list."""
        return self._json("GET", path, doing, query or {})

    def send(
        self, method: str, path: str, body: Object, *, doing: str, content_type: str = JSON,
        query: Mapping[str, Any] | None = None,
    ) -> Object:  # fmt: skip
        """Create, change or delete; return the server's answer."""
        return self._json(method, path, doing, query or {}, json.dumps(body).encode(), content_type)

    def lines(
        self, path: str, *, doing: str, query: Mapping[str, Any], silence_s: float | None = None
    ) -> Iterator[bytes]:
        """Yield the lines of an answer as they come: a watch, or a log that is followed.

        Ends without an error when the server closes the stream, or has been silent for `silence_s` seconds.
        """
        import urllib3

        response = self._request("GET", path, doing, query, None, JSON, silence_s)
        rest = b""
        try:
            for chunk in response.stream(65_536):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
        except urllib3.exceptions.HTTPError:
            pass  # the connection broke or was silent: the caller looks at the state and asks again
        finally:
            response.close()
        if rest:
            yield rest

    def _json(
        self, method: str, path: str, doing: str, query: Mapping[str, Any], body: bytes | None = None,
        content_type: str = JSON,
    ) -> Object:  # fmt: skip
        response = self._request(method, path, doing, query, body, content_type, ANSWER_TIMEOUT_S)
        try:
            answer: Object = json.loads(response.data)
        except ValueError:
            raise ClusterError(f"cannot {doing}: {self.server} does not answer as a Kubernetes API server") from None
        return answer

    def _request(
        self, method: str, path: str, doing: str, query: Mapping[str, Any], body: bytes | None, content_type: str,
        read_timeout_s: float | None,
    ) -> urllib3.BaseHTTPResponse:  # fmt: skip
        import urllib3

        url = f"{self.server}{path}"
        if query:
            url += "?" + urlencode(query)
        try:
            response = self._pool.request(
                method, url, body=body, headers=self._headers(content_type), preload_content=False, retries=False,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=read_timeout_s),
            )  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(
                f"cannot {doing}: {self.server} cannot be reached: {_cause(error)}.\n"
                "Is the cluster up, and is it the right one? See: kubectl config get-contexts",
                retryable=True,
            ) from error
        if response.status >= 300:
            raise _refused(response, doing)
        return response

    @property
    def server(self) -> str:
        """URL of the API server."""
        return str(self._configuration.host).rstrip("/")

    def _headers(self, content_type: str) -> dict[str, str]:
        headers = {"Accept": JSON, "Content-Type": content_type, "User-Agent": "paceline"}
        # Asked for each request: the configuration renews tokens that come from a login helper.
        token = self._configuration.auth_settings().get("BearerToken")
        if token and token.get("value"):
            headers[token["key"]] = token["value"]
        return headers


def connect(target: Target) -> Connection:
    """Read the kubeconfig (or, in a pod, the service account) and return the way to the cluster.

    Raises:
        ClusterError: There is none, or it is not usable.
    """
    import yaml
    from kubernetes import client

    config = _loader()
    configuration = client.Configuration()
    # The client reads KUBECONFIG when it is imported, and only then.
    file = target.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        if _in_pod(target):
            config.load_incluster_config(client_configuration=configuration)
            namespace = SERVICE_ACCOUNT_NAMESPACE.read_text().strip()
        else:
            config.load_kube_config(file, target.context, client_configuration=configuration)
            namespace = _context_namespace(file, target.context)
    # What is no kubeconfig at all makes the client stumble in ways of its own.
    except (config.ConfigException, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        said = str(error).rstrip(".")
        raise ClusterError(
            f"no usable kubeconfig in {file}: {said}.\nSet KUBECONFIG, or name a kubeconfig and a context: "
            "--kubeconfig and --context, in Python kubeconfig= and context="
        ) from error
    except OSError as error:
        raise ClusterError(f"cannot read the kubeconfig: {error}") from error
    return Connection(configuration, target.namespace or namespace)


def segment(name: str) -> str:
    """Return a name as one segment of a path."""
    return quote(name, safe="")


def _accept_older_authorities(options: dict[str, Any]) -> None:
    """Certificates of clusters that older tools made lack extensions which Python 3.13 asks for; kubectl does not."""
    import ssl

    from urllib3.util.ssl_ import create_urllib3_context

    if options.get("ca_certs") and options.get("ssl_context") is None and hasattr(ssl, "VERIFY_X509_STRICT"):
        context = create_urllib3_context(cert_reqs=options.get("cert_reqs"))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        options["ssl_context"] = context


def _in_pod(target: Target) -> bool:
    chosen = target.kubeconfig or target.context or os.environ.get("KUBECONFIG")
    return not chosen and "KUBERNETES_SERVICE_HOST" in os.environ and SERVICE_ACCOUNT_NAMESPACE.exists()


def _loader() -> Any:
    """The client's kubeconfig reader, which has no types."""
    from kubernetes import config

    return config


def _context_namespace(file: str, context: str | None) -> str:
    contexts, active = _loader().list_kube_config_contexts(file)
    if context:
        active = next(c for c in contexts if c["name"] == context)
    return str(active["context"].get("namespace") or "default")


def _cause(error: BaseException) -> str:
    """The innermost reason: urllib3 wraps it several times."""
    reason = getattr(error, "reason", None)
    return _cause(reason) if isinstance(reason, BaseException) else str(error).rsplit(": ", 1)[-1]


def _refused(response: urllib3.BaseHTTPResponse, doing: str) -> Exception:
    text = response.data.decode(errors="replace")
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("kind") != "Status":
        return from_response(response.status, "", text, doing=doing, is_status=False)
    message = str(body.get("message", ""))
    return from_response(response.status, str(body.get("reason", "")), message, doing=doing, is_status=True)
