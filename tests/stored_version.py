"""A release in a store and its tag in a repository, as dvc leaves them, without the seconds that dvc takes.

`tests/flows/test_publish.py` reads a version that dvc itself has pushed.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

from tasks.store.s3 import Store
from tasks.versions.remote import CONTENT, content_key

CONFIG = "[core]\n    remote = store\n['remote \"store\"']\n    url = {url}\n    endpointurl = {endpoint}\n"


def store_version(repo: Path, release: Path, tag: str, url: str, endpoint: str) -> dict[str, str]:
    """Put every file of `release` into the store and tag it in `repo`; returns the keys by path below the release."""
    store = Store(url, endpoint)
    entries = [_put(store, path, release) for path in sorted(release.rglob("*")) if path.is_file()]
    listing = json.dumps(entries).encode()
    md5 = f"{hashlib.md5(listing).hexdigest()}.dir"
    store._client.put_object(Bucket=store.bucket, Key=store._key(content_key(md5)), Body=listing)
    size = sum(path.stat().st_size for path in release.rglob("*") if path.is_file())
    (repo / ".dvc").mkdir(parents=True, exist_ok=True)
    (repo / ".dvc" / "config").write_text(CONFIG.format(url=url, endpoint=endpoint))
    output = {"path": "data/release", "md5": md5, "size": size, "nfiles": len(entries)}
    (repo / "dvc.lock").write_text(json.dumps({"stages": {"release": {"outs": [output]}}}))
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "dvc.lock", ".dvc"], [*identity, "commit", "-qm", tag], ["tag", tag]):
        subprocess.run(["git", *command], cwd=repo, check=True)
    return {entry["relpath"]: content_key(entry["md5"]) for entry in entries}


def _put(store: Store, path: Path, release: Path) -> dict[str, str]:
    content = path.read_bytes()
    md5 = hashlib.md5(content).hexdigest()
    assert content_key(md5).startswith(CONTENT)
    store._client.put_object(Bucket=store.bucket, Key=store._key(content_key(md5)), Body=content)
    return {"md5": md5, "relpath": path.relative_to(release).as_posix()}
