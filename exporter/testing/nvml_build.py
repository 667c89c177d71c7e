"""Compiles the NVML stand-in with the machine's C compiler, and tells how a process comes to use it."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["NVML_STATE_VARIABLE", "NoCompilerError", "build_standin", "load_standin", "standin_environment"]

NVML_STATE_VARIABLE = "WATTRIBUTE_NVML_STATE"
"""Environment variable that names the state's file; read at each opening of NVML. Unset: no driver is loaded."""

_SONAME = "libnvidia-ml.so.1"
_SOURCE = Path(__file__).with_name("nvml_standin.c")
_FLAGS = ("-std=gnu11", "-O1", "-fPIC", "-shared", f"-Wl,-soname,{_SONAME}", "-Wall", "-Wextra", "-Werror")
_BUILD_TIMEOUT_S = 60.0


class NoCompilerError(RuntimeError):
    """The machine has no C compiler; tests that need the stand-in should be skipped."""


def build_standin(directory: Path, *, without: Sequence[str] = ()) -> Path:
    """Compile ``libnvidia-ml.so.1`` into ``directory`` and return its path.

    Args:
        directory: where to; exists.
        without: functions to leave out, by exported name, as in an older driver.

    Raises:
        NoCompilerError: there is no gcc or cc.
        RuntimeError: the compiler failed; its words are in the message.
    """
    compiler = shlex.split(os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc") or "")
    if not compiler:
        raise NoCompilerError("no C compiler (gcc or cc) for the NVML stand-in")
    library = directory / _SONAME
    hidden = [f"-D{name}=hidden_{name}" for name in without]
    command = [*compiler, *_FLAGS, *hidden, "-o", str(library), str(_SOURCE)]
    done = subprocess.run(  # noqa: S603 - a compiler on our own source
        command, capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{compiler[0]} cannot build {_SOURCE.name}: {done.stderr[-2000:]}")
    return library


def load_standin(library: Path) -> None:
    """Load the stand-in into this process, where pynvml then finds it.

    The C library's loader gives a library that is already loaded to whoever asks for its soname. One build per
    process: it is never unloaded, and pynvml keeps the first that it saw.

    Raises:
        RuntimeError: this process has loaded another library of that name before.
    """
    ours = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    if ctypes.CDLL(_SONAME)._handle != ours._handle:  # noqa: SLF001 - all that tells two libraries apart
        raise RuntimeError(f"another {_SONAME} than {library} is loaded in this process")


def standin_environment(library: Path, state: Path) -> Mapping[str, str]:
    """Return the variables with which another process uses the stand-in."""
    return {"LD_LIBRARY_PATH": str(library.parent), NVML_STATE_VARIABLE: str(state)}
