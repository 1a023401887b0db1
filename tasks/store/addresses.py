"""Addresses with a user or a password inside: refused where they would be written down, blanked where they are told.

In: an address, or a text that may hold one. Why refuse: git keeps a repository's address, dvc commits a store's, and
both would then carry the password to everybody who clones.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from tasks.contracts import DefectoryError

_CREDENTIALS = re.compile(r"(?<=://)[^/\s'\"]*@")


def check_address(address: str, what: str, instead: str) -> str:
    """Return `address` when it holds no credentials; `instead` says where they belong.

    `ssh://git@host/…` is fine, for the user is no secret there; in an http address a user may be a token.
    Raises DefectoryError, without what it found.
    """
    found = _CREDENTIALS.search(address)
    if found and (":" in found[0] or not _is_ssh(address)):
        raise DefectoryError(f"{what} {without_credentials(address)!r} was given with a user or password: {instead}")
    return address


def without_credentials(text: str) -> str:
    """The text with nothing between `://` and `@` in the addresses that it holds."""
    return _CREDENTIALS.sub("", text)


def _is_ssh(address: str) -> bool:
    return urlsplit(address).scheme in ("ssh", "git+ssh", "ssh+git")
