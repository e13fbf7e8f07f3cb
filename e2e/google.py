"""A stand-in for Google's token server: key files are believed or refused by their signature, as in the cloud."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ACCOUNT = "trainer@paceline-test.iam.gserviceaccount.com"


@dataclass(slots=True)
class TokenServer:
    """Knows one key. Gives a token for what that key signed, and says `invalid_grant` to anything else."""

    url: str
    key: rsa.RSAPrivateKey
    granted: int = 0
    refused: int = 0

    def key_file(self, *, known: bool = True) -> str:
        """A service account's file as `gcloud iam service-accounts keys create` writes it.

        Args:
            known: False: the file holds a key that the server does not know, such as one that was deleted.
        """
        key = self.key if known else _new_key()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return json.dumps(
            {
                "type": "service_account",
                "project_id": "paceline-test",
                "private_key_id": "1",
                "private_key": pem.decode(),
                "client_email": ACCOUNT,
                "client_id": "1",
                "token_uri": self.url,
            }
        )

    def answer(self, assertion: str) -> tuple[int, dict[str, object]]:
        """What it says to a signed request for a token."""
        signed, _, signature = assertion.rpartition(".")
        try:
            self.key.public_key().verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            self.refused += 1
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        self.granted += 1
        return 200, {"access_token": "canary-token", "expires_in": 3600, "token_type": "Bearer"}


@contextmanager
def token_server(address: str) -> Iterator[TokenServer]:
    """Serve on a free port of this address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """The only request there is."""
            form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
            status, body = known.answer(form.get("assertion", [""])[0])
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer((address, 0), Handler)
    known = TokenServer(f"http://{address}:{server.server_port}/token", _new_key())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
