"""Files that only their owner may read: what this tool sees is about other people's processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from pathlib import Path

from binder_observe.errors import ObserveError


def create_private(path: str, header: bytes, force: bool) -> int:
    """Makes the file, mode 0600, with its header in place; a file that was there is replaced whole or not at all.

    Returns its descriptor, open for writing and locked. Raises ObserveError when the file exists and `force` is false,
    and when it cannot be created.
    """
    target = path
    try:
        if force and os.path.lexists(path):
            _refuse_special(path)
            # A new file under another name takes over: no old mode, owner or hard link comes with it.
            target = os.path.join(os.path.dirname(path), f".binder-observe-{secrets.token_hex(4)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(target, flags, 0o600)
    except FileExistsError as error:
        with contextlib.suppress(FileNotFoundError):
            _refuse_special(path)
        raise ObserveError(f"{path} already exists; -f overwrites it") from error
    except (OSError, ValueError) as error:
        raise ObserveError(f"cannot create {path}: {_why(error)}") from error
    try:
        _give_to_invoker(fd)
        with contextlib.suppress(OSError):  # only tells readers that the file is alive
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        write_all(fd, header)
        if target != path:
            os.rename(target, path)
    except BaseException as error:
        os.close(fd)
        os.unlink(target)
        if isinstance(error, OSError):
            raise ObserveError(f"cannot create {path}: {_why(error)}") from error
        raise
    return fd


def _refuse_special(path: str) -> None:
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        raise ObserveError(f"{path} is a symbolic link, which is not followed; name the file itself")
    if stat.S_ISDIR(mode):
        raise ObserveError(f"{path} is a directory; name a file in it")
    if not stat.S_ISREG(mode):
        raise ObserveError(f"{path} is not a regular file, so nothing is written to it")


def _give_to_invoker(fd: int) -> None:
    """Under sudo the file belongs to whoever ran it, or they could not read what they asked for."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and uid.isdecimal() and gid.isdecimal():
        with contextlib.suppress(OSError):  # a file system without owners
            os.fchown(fd, int(uid), int(gid))


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_private(path: str | os.PathLike[str], content: str | bytes, *, force: bool = False) -> None:
    """A whole file, mode 0600, owned by whoever ran sudo.

    Raises ObserveError when it exists and `force` is false, and when it cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    os.close(create_private(os.fspath(path), data, force))


def refuse_stdout(path: str) -> None:
    """Raises ObserveError for the name by which other tools mean standard output."""
    if path == "-":
        raise ObserveError("a recording cannot go to standard output; give the name of a file")


def check_absent(path: str | os.PathLike[str] | None, force: bool) -> None:
    """Raises ObserveError for an output that would be refused later, before long work is done for it."""
    if path is None:
        return
    if os.path.lexists(path):
        _refuse_special(os.fspath(path))
        if not force:
            raise ObserveError(f"{os.fspath(path)} already exists; -f overwrites it")
    elif not Path(path).absolute().parent.is_dir():
        raise ObserveError(f"cannot create {os.fspath(path)}: its folder does not exist")


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
