"""What the clouds take as tags: a stack has one set of tags for all of them, so that each has to take each.

AWS: https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html (keys that differ in case alone are one key there).
Azure: https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources. Both read on 2026-11-29.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

Cloud = Literal["aws", "azure"]

MOST_TAGS: Final = 50
"""Of one resource, in AWS as in Azure."""
MOST_TAGS_OF_AN_OBJECT: Final = 10
"""Of an object in S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html."""

_AWS_STRANGE: Final = re.compile(r"[^\w .:/=+\-@]", re.UNICODE)
_AZURE_STRANGE: Final = re.compile(r"[<>%&\\?/]|[\x00-\x1f]")
_RESERVED: Final = "aws:"
_LONGEST: Final = {"aws": (128, 256), "azure": (512, 256)}


def tag_problems(tags: Mapping[str, Any], cloud: Cloud) -> Iterator[tuple[str, str]]:
    """(tag, what the cloud says of it); the tag is empty where it is about all of them. No value is repeated."""
    for key, value in tags.items():
        for problem in _of_one(key, value, cloud):
            yield key, problem
    same: dict[str, list[str]] = defaultdict(list)
    for key in tags:
        same[key.lower()].append(key)
    for keys in same.values():
        if len(keys) > 1:
            yield keys[0], f"{' and '.join(repr(key) for key in sorted(keys))} differ in case alone and are one tag"
    if len(tags) > MOST_TAGS:
        yield "", f"{len(tags)} tags; a resource has at most {MOST_TAGS}"


def _of_one(key: str, value: Any, cloud: Cloud) -> Iterator[str]:
    longest_key, longest_value = _LONGEST[cloud]
    if not 1 <= len(key) <= longest_key:
        yield f"the name has {len(key)} characters, 1 to {longest_key} are allowed"
    if cloud == "aws" and key.lower().startswith(_RESERVED):
        yield f"names that begin with {_RESERVED!r} are AWS' own"
    if strange := _strange(key, _AWS_STRANGE if cloud == "aws" else _AZURE_STRANGE):
        yield f"the name holds {strange}, which {_said(cloud)}"
    if not isinstance(value, str):
        return
    if len(value) > longest_value:
        yield f"the value has {len(value)} characters, at most {longest_value} are allowed"
    if cloud == "aws" and (strange := _strange(value, _AWS_STRANGE)):
        yield f"the value holds {strange}, which {_said(cloud)}"


def _strange(text: str, pattern: re.Pattern[str]) -> str:
    return " ".join(dict.fromkeys(pattern.findall(text)))


def _said(cloud: Cloud) -> str:
    return (
        "AWS refuses: letters, digits, spaces and _ . : / = + - @ are allowed"
        if cloud == "aws"
        else "Azure refuses in a tag's name, as < > % & \\ ? / all are"
    )
