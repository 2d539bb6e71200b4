"""A receiver of webhooks: a real HTTPS server on 127.0.0.1 whose certificate a CA of its own has signed."""

import ipaddress
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  # that of the examples of Standard Webhooks
NAME = "hooks.test"  # a name of the certificate


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Server(ThreadingHTTPServer):
    daemon_threads = True
    receiver: "Receiver"

    def handle_error(self, *_: object) -> None:
        """A client that ends the connection is no error here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    server: Server

    def do_POST(self) -> None:
        receiver: Receiver = self.server.receiver
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        receiver.received.append(Received(self.path, headers, body))
        receiver.answer(self)

    def log_message(self, *_: object) -> None:
        pass


def status(code: int, **headers: str) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()

    return answer


def raw(*pieces: bytes, pause: float = 0.0) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        for piece in pieces:
            handler.wfile.write(piece)
            time.sleep(pause)

    return answer


class Receiver:
    """`answers` are given in turn; then each request gets 204. `names` are the SNI names of the connections."""

    def __init__(self, folder: Path) -> None:
        self.ca = folder / "ca.pem"
        key = write_certificates(folder)
        self.received: list[Received] = []
        self.answers: list[Callable[[Handler], None]] = []
        self.names: list[str | None] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(key)
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.receiver = self
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, handler: Handler) -> None:
        handler.close_connection = True
        (self.answers.pop(0) if self.answers else status(204))(handler)

    def url(self, host: str = "127.0.0.1", target: str = "/hook") -> str:
        return f"https://{host}:{self.port}{target}"

    def clear(self) -> None:
        for each in (self.received, self.answers, self.names):
            each.clear()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def write_certificates(folder: Path) -> Path:
    """Write a CA and a certificate for 127.0.0.1 and two names. Returns the file with the certificate and its key."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests' CA")])
    is_ca = x509.BasicConstraints(ca=True, path_length=None)
    ca = builder(issuer, issuer, ca_key).add_extension(is_ca, critical=True).sign(ca_key, hashes.SHA256())
    names: list[x509.GeneralName] = [
        x509.DNSName(NAME),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    certificate = (
        builder(subject, issuer, key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "receiver.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
