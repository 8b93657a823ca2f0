#!/usr/bin/python3
"""Runs a program as a unit's [Service] confines it, where there is no systemd: user, limits, umask, system calls, address families,
memory that is never both written and executed. What the unit does with the file system's views is not imitated.

Usage: confined.py UNIT USER PROGRAM ARGUMENT…    (USER "-": the caller)
"""
import ctypes
import errno
import os
import pathlib
import pwd
import re
import resource
import socket
import subprocess
import sys

ALLOW, ERRNO = 0x7FFF0000, 0x00050000  # seccomp.h: SCMP_ACT_ALLOW, SCMP_ACT_ERRNO(x)
EQUAL, MASKED_EQUAL = 4, 7
SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
PROT_WRITE, PROT_EXEC = 2, 4


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class Filter:
    def __init__(self, default):
        self.library = ctypes.CDLL("libseccomp.so.2")
        self.library.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.library.seccomp_init(default))

    def add(self, action, call, *compares):
        number = self.library.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:  # another processor's call has a number below
            done = self.library.seccomp_rule_add_array(self.context, ctypes.c_uint32(action), number, len(compares), (Compare * len(compares))(*compares))
            assert done == 0, f"{call}: {done}"

    def load(self):
        assert self.library.seccomp_load(self.context) == 0


def settings(unit):
    """Name → values, in order; a value that is empty begins anew."""
    found = {}
    for name, value in re.findall(r"(?m)^(\w+)=(.*)$", pathlib.Path(unit).read_text()):
        found[name] = [*found.get(name, []), value] if value else []
    return found


def calls_of(group):
    text = subprocess.run(["systemd-analyze", "syscall-filter", group], text=True, capture_output=True, check=True).stdout
    for word in re.sub(r"#.*", "", text).split():
        if word.startswith("@") and word != group:
            yield from calls_of(word)
        elif not word.startswith("@"):
            yield word


def calls_that_are_allowed(lines):
    allowed = set()
    for line in lines:
        takes = line.startswith("~")
        for word in line.removeprefix("~").split():
            calls = set(calls_of(word) if word.startswith("@") else [word])
            allowed = allowed - calls if takes else allowed | calls
    return allowed


def confine(unit, user):
    """From here on. What is forbidden answers as systemd has it: EPERM, and EAFNOSUPPORT for a family."""
    known = settings(unit)
    calls = calls_that_are_allowed(known["SystemCallFilter"])
    for name, (value,) in {name: values for name, values in known.items() if name.startswith("Limit")}.items():
        number, unit_of_it = re.fullmatch(r"(\d+)([KMG]?)", value).groups()
        kind, limit = getattr(resource, name.replace("Limit", "RLIMIT_")), int(number) * SIZES.get(unit_of_it, 1)
        most = resource.getrlimit(kind)[1]  # a caller that is not root may only lower it
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(kind, (limit, limit))
    os.umask(int(known["UMask"][0], 8))
    if user != "-":
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    families = Filter(ALLOW)
    for family in set(range(48)) - {getattr(socket, name).value for name in known["RestrictAddressFamilies"][0].split()}:
        families.add(ERRNO | errno.EAFNOSUPPORT, "socket", Compare(0, EQUAL, family, 0))
    families.add(ERRNO | errno.EPERM, "mmap", Compare(2, MASKED_EQUAL, PROT_WRITE | PROT_EXEC, PROT_WRITE | PROT_EXEC))
    families.add(ERRNO | errno.EPERM, "mprotect", Compare(2, MASKED_EQUAL, PROT_EXEC, PROT_EXEC))
    only = Filter(ERRNO | getattr(errno, known["SystemCallErrorNumber"][0]))
    for call in calls:
        only.add(ALLOW, call)
    families.load()
    only.load()


if __name__ == "__main__":
    confine(*sys.argv[1:3])
    os.execv(sys.argv[3], sys.argv[3:])
