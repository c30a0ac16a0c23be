"""Signs statements with a KMS key: ECDSA on P-256 over the SHA-256 of a statement's canonical JSON."""

import base64
import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from gratis.errors import Busy

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


class PublicKey(NamedTuple):
    """A key's public half, as DER (SubjectPublicKeyInfo)."""

    der: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the DER form, in hex: by which a statement names its key."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def pem(self) -> str:
        """As PEM text."""
        return f"-----BEGIN PUBLIC KEY-----\n{base64.encodebytes(self.der).decode()}-----END PUBLIC KEY-----\n"


class Signer:
    """Signs with one KMS key, named by id or ARN."""

    def __init__(self, client: "KMSClient", key_id: str) -> None:
        self._client = client
        self._key_id = key_id

    @cached_property
    def public_key(self) -> PublicKey:
        """Asked for once. Raises Busy."""
        try:
            return PublicKey(self._client.get_public_key(KeyId=self._key_id)["PublicKey"])
        except (ClientError, BotoCoreError) as error:
            raise Busy(f"the key of the statements does not answer: {error}") from error

    def sign(self, digest: bytes) -> str:
        """The signature over a SHA-256, DER in Base64; another one each time. Raises Busy."""
        try:
            answer = self._client.sign(
                KeyId=self._key_id, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256"
            )
        except (ClientError, BotoCoreError) as error:
            raise Busy(f"the key of the statements does not sign: {error}") from error
        return base64.b64encode(answer["Signature"]).decode()
