"""An authority that signs certificates, for tests of TLS."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
HERE = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and its private key."""

    certificate: str
    key: str


class Authority:
    """Signs certificates.

    Args:
        folder: where files are written.
        name: of the authority, and of its file.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._builder(self._name, self._key, NOW + DAY)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = str(folder / f"{name}.pem")
        Path(self.file).write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def issue(
        self,
        file: str,
        common: str | None = None,
        alternatives: Sequence[x509.GeneralName] = (),
        *,
        ends: datetime.datetime = NOW + DAY,
        password: bytes = b"",
    ) -> Pair:
        """A certificate.

        Args:
            file: the name of its files.
            common: the common name; None for a subject without one.
            alternatives: other names.
            ends: when it does not hold any more.
            password: of the key; empty for none.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        named = NameOID.ORGANIZATION_NAME if common is None else NameOID.COMMON_NAME
        made = self._builder(x509.Name([x509.NameAttribute(named, common or "Example")]), key, ends)
        if alternatives:
            made = made.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        pair = Pair(str(self._folder / f"{file}.pem"), str(self._folder / f"{file}.key"))
        Path(pair.certificate).write_bytes(_pem(made.sign(self._key, hashes.SHA256())))
        how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        Path(pair.key).write_bytes(key.private_bytes(serialization.Encoding.PEM, form, how))
        return pair

    def server(self, file: str = "server") -> Pair:
        """The certificate of a server on this machine."""
        return self.issue(file, "localhost", HERE)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, ends: datetime.datetime
    ) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(NOW - 2 * DAY)
        return made.not_valid_after(ends)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
