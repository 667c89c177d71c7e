"""What each of NVML's return codes means for the agent: one table, and a second one for the moment of opening.

Source: enum nvmlReturn_t of nvml.h; what the codes stand for in practice is told in the threads named beside them.
"""

from __future__ import annotations

from typing import NamedTuple

from exporter.errors import (
    DeviceLostError,
    DriverGoneError,
    DriverReplacedError,
    SourceBusyError,
    SourceError,
    SourcePermissionError,
    SourceUnsupportedError,
)

__all__ = [
    "FUNCTION_NOT_FOUND",
    "INSUFFICIENT_SIZE",
    "INVALID_ARGUMENT",
    "LIBRARY_NOT_FOUND",
    "NOT_FOUND",
    "SUCCESS",
    "translated",
]

SUCCESS = 0
INVALID_ARGUMENT = 2
NOT_FOUND = 6
INSUFFICIENT_SIZE = 7
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13

_DRIVER_NOT_LOADED = 9
_SOURCE = "nvml"


class _Meaning(NamedTuple):
    """NVML's words for a code, what it is to us, and what to do about it."""

    words: str
    kind: type[SourceError] = SourceError
    advice: str = ""


_REPLACED = (
    "the driver was upgraded under this process, which keeps the old library: start a new one; "
    "a container must be made anew"
)
_CGROUP_LOST = (
    "the devices are likely taken from this container, as systemctl daemon-reload does: start a new container "
    "(nvidia-container-toolkit issue 48)"
)

_MEANINGS: dict[int, _Meaning] = {
    1: _Meaning("uninitialized", DriverGoneError),
    INVALID_ARGUMENT: _Meaning("invalid argument"),
    3: _Meaning("not supported", SourceUnsupportedError),
    4: _Meaning("no permission", SourcePermissionError),
    5: _Meaning("already initialized"),
    NOT_FOUND: _Meaning("not found", SourceBusyError),
    INSUFFICIENT_SIZE: _Meaning("buffer too small", SourceBusyError),
    8: _Meaning("external power cables missing"),
    _DRIVER_NOT_LOADED: _Meaning("driver not loaded", DriverGoneError),
    10: _Meaning("timeout", SourceBusyError),
    11: _Meaning("interrupt trouble"),
    LIBRARY_NOT_FOUND: _Meaning("libnvidia-ml.so.1 not found", SourceUnsupportedError),
    FUNCTION_NOT_FOUND: _Meaning("not in this driver's library", SourceUnsupportedError),
    14: _Meaning("corrupted infoROM"),
    15: _Meaning("GPU is lost", DeviceLostError, "after Xid 79 the node needs a reboot"),
    16: _Meaning("GPU needs a reset", DeviceLostError, "drain the node and run nvidia-smi -r"),
    17: _Meaning("blocked by the operating system"),
    18: _Meaning("library and driver differ in version", DriverReplacedError, _REPLACED),
    19: _Meaning("in use", SourceBusyError),
    20: _Meaning("out of memory", SourceBusyError),
    21: _Meaning("no data", SourceBusyError),
    23: _Meaning("out of resources", SourceBusyError),
    25: _Meaning("another version of the argument", SourceUnsupportedError),
    26: _Meaning("deprecated", SourceUnsupportedError),
    27: _Meaning("not ready", SourceBusyError),
    28: _Meaning("GPU not found", DriverGoneError),
    29: _Meaning("invalid state", SourceBusyError),
    999: _Meaning("unknown error"),
}

_AT_OPENING: dict[int, _Meaning] = _MEANINGS | {
    4: _Meaning("no permission", SourcePermissionError, "this process may not open /dev/nvidiactl"),
    LIBRARY_NOT_FOUND: _Meaning("no NVIDIA driver: libnvidia-ml.so.1 not found", SourceUnsupportedError),
    17: _Meaning("blocked by the operating system", DriverReplacedError, _CGROUP_LOST),
    999: _Meaning("unknown error", DriverReplacedError, _CGROUP_LOST),
}


def translated(code: int, *, call: str, is_opening: bool = False, was_open: bool = False) -> SourceError:
    """Return the error that ``code`` is to us.

    Args:
        code: what NVML returned; codes newer than the table are plain failures.
        call: NVML's name of the function.
        is_opening: whether the call opens the library, where some codes mean more.
        was_open: whether this process had the driver open before; a driver that is not loaded is then one that went.
    """
    meaning = (_AT_OPENING if is_opening else _MEANINGS).get(code, _Meaning("an error unknown to this agent"))
    kind = meaning.kind
    if code == _DRIVER_NOT_LOADED and is_opening and not was_open:
        kind, meaning = SourceUnsupportedError, _Meaning("no NVIDIA driver is loaded")
    message = f"{call}: {meaning.words} (NVML code {code})"
    return kind(_SOURCE, f"{message}: {meaning.advice}" if meaning.advice else message)
