"""Pulumi's passphrase secrets as the Pulumi CLI writes them: AES-256-GCM under a PBKDF2-SHA256 key, a million rounds.

A salt is ``v1:<salt>:v1:<nonce>:<ciphertext of "pulumi">``, a value is ``v1:<nonce>:<ciphertext>``, all base64.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from pathlib import Path

from spillway.twin.deployer.api import ConfigError, DeployerError

_ROUNDS = 1_000_000
_PROOF = "pulumi"


class Crypter:
    """Encrypts and decrypts values under one passphrase and salt. The key is derived on first use (about 0.3 s)."""

    def __init__(self, passphrase: str, salt_state: str) -> None:
        version, salt, proof = salt_state.split(":", 2)
        if version != "v1":
            raise ConfigError(f"encryptionsalt: version {version!r} is not known, allowed is v1")
        self.salt_state = salt_state
        self._passphrase = passphrase
        self._salt = base64.b64decode(salt)
        self._proof = proof
        self._checked = False

    @classmethod
    def new(cls, passphrase: str) -> Crypter:
        """A crypter with a fresh salt, to be kept as ``encryptionsalt`` or in the checkpoint."""
        salt = os.urandom(8)
        proof = _encrypt(_key(passphrase, salt), _PROOF)
        return cls(passphrase, f"v1:{base64.b64encode(salt).decode()}:{proof}")

    def encrypt(self, plaintext: str) -> str:
        return _encrypt(self._verified_key(), plaintext)

    def decrypt(self, value: str) -> str:
        try:
            return _decrypt(self._verified_key(), value)
        except ValueError:
            raise DeployerError("A secret cannot be decrypted: it was not encrypted under this stack's salt.") from None

    def _verified_key(self) -> bytes:
        key = _key(self._passphrase, self._salt)
        if not self._checked:
            try:
                _decrypt(key, self._proof)
            except ValueError:
                raise ConfigError(
                    "The passphrase does not open this stack's secrets. Set PULUMI_CONFIG_PASSPHRASE to the one "
                    "that the stack was made with."
                ) from None
            self._checked = True
        return key


def given_passphrase() -> str | None:
    """From the two places where the Pulumi CLI looks for it."""
    if (path := os.environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")) and "PULUMI_CONFIG_PASSPHRASE" not in os.environ:
        return Path(path).read_text(encoding="utf-8").strip()
    return os.environ.get("PULUMI_CONFIG_PASSPHRASE")


def new_salt(passphrase: str) -> str:
    """A value for ``encryptionsalt`` in a stack file."""
    return Crypter.new(passphrase).salt_state


@functools.cache
def _key(passphrase: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, _ROUNDS, 32)


def _encrypt(key: bytes, plaintext: str) -> str:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(12)
    sealed = AESGCM(key).encrypt(nonce, plaintext.encode(), None)
    return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(sealed).decode()}"


def _decrypt(key: bytes, value: str) -> str:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    parts = value.split(":")
    if len(parts) != 3 or parts[0] != "v1":
        raise ValueError("not a v1 value")
    try:
        return AESGCM(key).decrypt(base64.b64decode(parts[1]), base64.b64decode(parts[2]), None).decode()
    except InvalidTag:
        raise ValueError("wrong key") from None
