"""How to reach the API server: the service account in a cluster, else a kubeconfig. Read by the kubernetes package,
so that client certificates, token files, exec plugins and OIDC work as in kubectl.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import config as kubeconfig
from kubernetes.client import Configuration
from kubernetes.client.rest import should_bypass_proxies

USER_AGENT = "paceline-operator"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class AccessError(Exception):
    """No usable way to the cluster; the message says what to set."""


@dataclass(frozen=True, slots=True)
class Access:
    """One cluster and one identity."""

    server: str
    in_cluster: bool
    configuration: Any
    """The kubernetes package's Configuration: renews tokens when asked for one."""

    def authorization(self) -> str | None:
        """Return the Authorization header, renewed where it is about to expire. May run an exec plugin: blocks."""
        header: str | None = self.configuration.get_api_key_with_prefix("BearerToken", "authorization")
        return header or (self.configuration.get_basic_auth_token() if self.configuration.username else None)

    @property
    def has_token(self) -> bool:
        """Whether requests carry a token that can change."""
        return bool(self.configuration.api_key)

    @property
    def proxy(self) -> str | None:
        """The proxy that the kubeconfig or the environment names for this server; None for none."""
        if should_bypass_proxies(self.server, self.configuration.no_proxy or ""):
            return None
        return self.configuration.proxy or None

    def tls(self) -> ssl.SSLContext | bool:
        """Return the TLS context: CA and client certificate."""
        if not self.server.startswith("https:"):
            return True
        context = ssl.create_default_context(cafile=self.configuration.ssl_ca_cert)
        if self.configuration.ssl_ca_cert and hasattr(ssl, "VERIFY_X509_STRICT"):
            # Cluster CAs made by older tools lack key usage extensions; Go and kubectl accept them.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not self.configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.configuration.cert_file:
            context.load_cert_chain(self.configuration.cert_file, self.configuration.key_file)
        return context


def load(path: Path | None = None, context: str | None = None) -> Access:
    """Find the way to the cluster: `path` if given, else the service account, else KUBECONFIG or ~/.kube/config.

    Raises:
        AccessError: There is none, or it cannot be read.
    """
    configuration = Configuration()
    in_cluster = path is None and (SERVICE_ACCOUNT / "token").exists()
    try:
        if in_cluster:
            kubeconfig.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            kubeconfig.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(path) if path else None, context=context, client_configuration=configuration
            )
    except (kubeconfig.ConfigException, OSError) as error:
        raise AccessError(
            f"cannot reach a cluster: {error}; run inside one, or name a kubeconfig by --kubeconfig or KUBECONFIG"
        ) from error
    return Access(configuration.host.rstrip("/"), in_cluster, configuration)
