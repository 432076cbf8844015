"""A lock of the kernel's (`flock`): a process that dies, however, lets go of it."""

from __future__ import annotations


def lock(handle: int) -> bool:
    """Take an open file or folder for this process alone, until it is closed.

    Returns:
        False where another process holds it. True where it is ours, and where the system or the
        file system knows no locks: then there is nothing to hold.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
