"""A KMS key of a test's own: what `Signer` asks of the client, with a real key on P-256."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gratis.closing.signing import Signer


class Kms:
    """The client. moto's own signs a digest as if it were a message."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    def get_public_key(self, *, KeyId: str) -> dict[str, Any]:  # noqa: N803 - the client's word
        return {"PublicKey": self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)}

    def sign(self, *, KeyId: str, Message: bytes, MessageType: str, SigningAlgorithm: str) -> dict[str, Any]:  # noqa: N803
        assert (MessageType, SigningAlgorithm) == ("DIGEST", "ECDSA_SHA_256")
        return {"Signature": self._key.sign(Message, ec.ECDSA(utils.Prehashed(SHA256())))}


def signer() -> Signer:
    """Signs with a new key."""
    client: Any = Kms()
    return Signer(client, "a-key")
