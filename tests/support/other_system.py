"""Runs `acgan` as on a system without POSIX: its modules, and the names of `os` and `signal`, do not exist."""

import os
import signal
import sys

MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty")
OF_OS = (
    "fork", "forkpty", "killpg", "getpgid", "setpgid", "setsid", "getuid", "geteuid", "getgid", "getegid", "getgroups",
    "fchmod", "chown", "fchown", "lchown", "chroot", "mkfifo", "mknod", "nice", "pread", "pwrite", "preadv", "pwritev",
    "sched_getaffinity", "sched_setaffinity", "uname", "statvfs", "fstatvfs", "wait", "waitid", "wait3", "wait4",
    "sync", "getloadavg", "sysconf", "confstr", "ttyname", "openpty", "posix_spawn", "O_DIRECTORY", "O_NOFOLLOW",
    "O_NONBLOCK", "O_CLOEXEC", "O_SYNC", "O_NOCTTY",
)  # fmt: skip
OF_SIGNAL = ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGCHLD", "SIGQUIT", "pthread_sigmask")


def main() -> None:
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    import socket

    import torch  # noqa: F401  # of another build there: what it needs itself is not what is tested

    if hasattr(socket, "AF_UNIX"):
        del socket.AF_UNIX
    for module, names in ((os, OF_OS), (signal, OF_SIGNAL)):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)

    from app.cli import main as acgan

    acgan()


if __name__ == "__main__":
    main()
