"""How an image's address is read: the registry's host, and the path in it."""

from __future__ import annotations


def split_host(image: str) -> tuple[str, str]:
    """``(host, path)``; without a host it is Docker Hub's, and the host is empty.

    The first part is a host where it could be one: it has a dot or a port, or is localhost
    (https://pkg.go.dev/github.com/distribution/reference, splitDockerDomain).
    """
    first, slash, rest = image.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return (first, rest) if is_host else ("", image)
