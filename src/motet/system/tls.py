"""TLS: what servers and clients speak it with, made of files of certificates, and the names in one."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import Any

from motet.errors import InputError
from motet.system.incidents import INCIDENTS

__all__ = ["client_context", "names_in", "present", "server_context"]

_LOG = logging.getLogger("motet.serving")
_REFUSED = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("certificate_refused", "it has shown no certificate"),
    "CERTIFICATE_VERIFY_FAILED": ("certificate_refused", "its certificate does not hold"),
    "UNSUPPORTED_PROTOCOL": ("handshake_refused", "it speaks no TLS from 1.2 on"),
    "NO_SHARED_CIPHER": ("handshake_refused", "it knows no cipher of this server"),
    "NO_SUITABLE_KEY_SHARE": ("handshake_refused", "it knows no group of this server's key exchange"),
    "NO_SHARED_GROUP": ("handshake_refused", "it knows no group of this server's key exchange"),
    "NO_SUITABLE_GROUPS": ("handshake_refused", "it knows no group of this server's key exchange"),
    "NO_SHARED_SIGNATURE_ALGORITHMS": ("handshake_refused", "it knows no kind of signature of this server"),
    "NO_SUITABLE_SIGNATURE_ALGORITHM": ("handshake_refused", "it knows no kind of signature of this server"),
    "INAPPROPRIATE_FALLBACK": ("handshake_refused", "it asks for an older TLS than it speaks"),
}
"""By what OpenSSL says of clients that are not let in: the incident, and why."""
_MOST_UNREAD = 16
"""How often data of a client is left unread that is not let in."""


def server_context(certificate: str, key: str, client_ca: str | None = None) -> ssl.SSLContext:
    """What a server speaks TLS 1.2 and newer with.

    Args:
        certificate: the file of its chain, PEM.
        key: the file of its private key, PEM, without a password.
        client_ca: a file of certificates, PEM: each client must have a certificate that one of those has signed. None asks for
            none.

    Raises:
        InputError: when a file cannot be read, or is something else.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.sslobject_class = _Refusing
    present(context, certificate, key, where="tls")
    if client_ca is not None:
        _believe(context, client_ca, where="tls.client_ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _Refusing(ssl.SSLObject):
    """A connection of a server: why a client is not let in is said in the log, and to the client.

    Loops say neither: where a handshake fails they close the connection before they send the alert that OpenSSL has made. So
    they are told to wait for more. What the client still sends is left unread, a few times, until it closes the connection.
    """

    _error: ssl.SSLError | None = None
    _unread = 0

    def do_handshake(self) -> None:
        if self._error is None:
            try:
                return super().do_handshake()
            except ssl.SSLError as error:
                if error.reason not in _REFUSED:
                    raise
                incident, why = _REFUSED[error.reason]
                INCIDENTS.say(_LOG, incident, "a client is not let in: %s", getattr(error, "verify_message", why))
                self._error = error.with_traceback(None)
        self._unread += 1
        if self._unread > _MOST_UNREAD:
            raise self._error
        raise ssl.SSLWantReadError


def client_context(ca: str = "", certificate: str = "", key: str = "", *, where: str = "") -> ssl.SSLContext:
    """What a client speaks TLS with.

    Args:
        ca: a file of certificates to believe, PEM; empty for the system's.
        certificate: the file of its own chain, PEM, for servers that ask for one; empty for none.
        key: the file of its private key, PEM, without a password; empty where that is in the file of the certificate.
        where: what the files are for, for messages.

    Raises:
        InputError: when a file cannot be read, or is something else.
    """
    context = ssl.create_default_context() if not ca else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        _believe(context, ca, where=where)
    if certificate:
        present(context, certificate, key or certificate, where=where)
    return context


def present(context: ssl.SSLContext, certificate: str, key: str, *, where: str) -> None:
    """Let a context show a certificate.

    Args:
        context: of a server or a client.
        certificate: the file of its chain, PEM.
        key: the file of its private key, PEM, without a password.
        where: what the files are for, for messages.

    Raises:
        InputError: when a file cannot be read, or is something else.
    """
    _check_readable(where, certificate, key)
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # nobody is there to type one
    except (OSError, ValueError) as error:
        what = f"{certificate} and {key} are no certificate and key: {_said(error)}"
        hint = "give a chain and its private key, PEM, without a password"
        raise InputError(what, where=where, hint=hint) from error


def _believe(context: ssl.SSLContext, ca: str, *, where: str) -> None:
    _check_readable(where, ca)
    try:
        context.load_verify_locations(ca)
    except (OSError, ValueError) as error:
        what = f"{ca} is no file of certificates: {_said(error)}"
        raise InputError(what, where=where, hint="give the certificates of authorities, PEM") from error


def _check_readable(where: str, *paths: str) -> None:
    for path in paths:
        try:
            open(path, "rb").close()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}", where=where) from error


def _said(error: Exception) -> str:
    """What OpenSSL says, without where in it that was."""
    return str(error).partition(" (_ssl.c")[0]


def names_in(certificate: Mapping[str, Any]) -> list[str]:
    """The names of the subject of a certificate that `ssl` has decoded: its common names, and the alternative ones."""
    common = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return [*common, *(value for _, value in certificate.get("subjectAltName", ()) if isinstance(value, str))]
