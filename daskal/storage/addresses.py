"""Where a Zarr store keeps its objects: as an identity that lasts, and as an error shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from daskal.errors import InputError
from daskal.storage.redaction import redacted

# Buckets of obstore's stores: the class, the scheme, and the name of the bucket in its options.
BUCKETS = {
    "S3Store": ("s3", "bucket"),
    "GCSStore": ("gs", "bucket"),
    "AzureStore": ("abfs", "container_name"),
}
SNAPSHOT_SCHEME = "icechunk"


def store_url(store: Any) -> str:
    """Return the URL of a Zarr store, the same however the store was given.

    Raises
    ------
    InputError
        If it is a session of Icechunk with changes that are in no snapshot.
    """
    if (url := snapshot_url(store)) is not None or (url := obstore_url(store)) is not None:
        return url
    directory = getattr(store, "root", None)
    if directory is not None:
        return Path(directory).resolve().as_uri()
    file_system = getattr(store, "fs", None)
    if file_system is not None:
        protocol = file_system.protocol
        first = protocol if isinstance(protocol, str) else protocol[0]
        return redacted(f"{first}://{store.path}")
    archive = getattr(store, "path", None)
    if archive is not None:
        return Path(archive).resolve().as_uri()
    return redacted(str(store))


def obstore_url(store: Any) -> str | None:
    """Return the URL of a store of obstore, None if it is none or has no place, as in memory."""
    held: Any = getattr(store, "store", None)
    if not type(held).__module__.startswith("obstore"):
        return None
    kind, prefix = type(held).__name__, getattr(held, "prefix", None)
    if kind == "LocalStore":
        return Path(prefix or "/").resolve().as_uri()
    if kind == "HTTPStore":
        return redacted(str(held.url))
    if kind not in BUCKETS:
        return None
    scheme, option = BUCKETS[kind]
    return "/".join(filter(None, (f"{scheme}://{held.config[option]}", prefix)))


def snapshot_url(store: Any) -> str | None:
    """Return a URL of the snapshot that a store of Icechunk reads, None if it is no such store.

    Snapshots never change and bear names that no other repository has: where the repository lies
    makes no difference, and a session does not tell.
    """
    session: Any = getattr(store, "session", None)
    snapshot = getattr(session, "snapshot_id", None)
    if snapshot is None:
        return None
    if session.has_uncommitted_changes:
        raise InputError(
            "expected arrays of a snapshot of their Icechunk repository, got a session with "
            "changes that are in no snapshot: they may be lost before the run is resumed. Commit "
            "them, and open the arrays in repo.readonly_session(snapshot_id=...)."
        )
    return f"{SNAPSHOT_SCHEME}://{snapshot}"


def address_of(node: Any) -> str:
    """Return where a Zarr array or group lies, for an error to name it."""
    session = getattr(getattr(node, "store", None), "session", None)
    snapshot = getattr(session, "snapshot_id", None)
    if snapshot is None:
        return redacted(str(getattr(node, "store_path", node)))
    # Of itself the store tells no more than its address in memory.
    return f"{SNAPSHOT_SCHEME}://{snapshot}/{node.path}"
