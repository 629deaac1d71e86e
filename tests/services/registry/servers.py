"""What a registry may ask for: passwords, or tokens of a small issuer."""

import base64
import datetime
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.registry import Reference, Registry
from tests.registryserver import PROGRAM

HTPASSWD = "somebody:$2b$04$j3WDHrjTMfDxKpJcBU/E1eWwgWhygs/v2IrJzdd3yeEkZsLNxhlxy\n"  # "right"
needs_registry = pytest.mark.skipif(PROGRAM is None, reason="no docker-registry (Debian's package of that name)")


def passwords(directory: Path) -> str:
    """The `auth` of a registry that knows somebody with the password right."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "htpasswd").write_text(HTPASSWD)
    return f"auth: {{htpasswd: {{realm: tests, path: {directory}/htpasswd}}}}\n"


class Issuer:
    """Gives tokens: to somebody/right for whatever is asked for, to nobody for pulling `public/…` alone."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
            .serial_number(1).not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(self.key, hashes.SHA256()))
        self.bundle = directory / "issuer.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.x5c = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
        self.asked: list[list[str]] = []
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                scopes = query.get("scope", [])
                issuer.asked.append(scopes)
                authorization = self.headers.get("Authorization", "")
                known = authorization == "Basic " + base64.b64encode(b"somebody:right").decode()
                if authorization and not known:
                    self.send_response(401)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body = json.dumps({"token": issuer.token(scopes, known=known), "expires_in": 300}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/token"

    def token(self, scopes: list[str], *, known: bool) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            allowed = actions.split(",") if known else [a for a in actions.split(",") if a == "pull" and name.startswith("public/")]
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        claims = {"iss": "issuer", "aud": "tests", "sub": "", "iat": now, "nbf": now - 5, "exp": now + 300, "jti": "1", "access": access}
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"x5c": [self.x5c]})

    @property
    def auth(self) -> str:
        return f"auth: {{token: {{realm: '{self.url}', service: tests, issuer: issuer, rootcertbundle: {self.bundle}}}}}\n"


@contextmanager
def issuer(directory: Path) -> Iterator[Issuer]:
    found = Issuer(directory)
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()
        thread.join()


async def push(client: Registry, name: str, content: bytes = b"layer", media: str = "application/vnd.oci.image.manifest.v1+json") -> str:
    """Store a small image; its digest."""
    image = Reference.parse(name)
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    layer = await client.upload_bytes(image.repository, content)
    kind = "application/vnd.oci.image.config.v1+json" if "oci" in media else "application/vnd.docker.container.image.v1+json"
    layers = "application/vnd.oci.image.layer.v1.tar+gzip" if "oci" in media else "application/vnd.docker.image.rootfs.diff.tar.gzip"
    manifest = {
        "schemaVersion": 2, "mediaType": media,
        "config": {"mediaType": kind, "digest": await client.upload_bytes(image.repository, config), "size": len(config)},
        "layers": [{"mediaType": layers, "digest": layer, "size": len(content)}],
    }
    return await client.put_manifest(image, media, json.dumps(manifest).encode())
