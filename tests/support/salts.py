"""Salts of stack files, one a passphrase: each new one takes a million rounds."""

from __future__ import annotations

import functools

from spillway.twin.deployer.crypto import new_salt


@functools.cache
def shared_salt(passphrase: str) -> str:
    """A value for ``encryptionsalt``."""
    return new_salt(passphrase)
