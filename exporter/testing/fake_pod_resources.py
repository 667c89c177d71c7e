"""A kubelet that tells which devices pods were given: gRPC on a Unix socket, with the faults that kubelets show.

Real bytes: HTTP/2 by the h2 library, messages as k8s.io/kubelet, pkg/apis/podresources/v1/api.proto, has them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded
from h2.exceptions import H2Error

__all__ = ["DynamicDevice", "FakeAllotment", "FakePodResources", "Fault", "encode_field", "encode_list"]

Fault = Literal["", "goaway", "reset", "hang", "hangup", "bad_frame", "no_trailers", "compressed", "not_found"]


class DynamicDevice(NamedTuple):
    """A device of a resource claim."""

    driver: str
    device: str
    cdi_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeAllotment:
    """What one container was given.

    Attributes:
        namespace, pod, container: names.
        devices: device ids by resource.
        dynamic: devices of resource claims.
    """

    namespace: str
    pod: str
    container: str = "main"
    devices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    dynamic: Sequence[DynamicDevice] = ()


def encode_field(number: int, content: str | bytes | int) -> bytes:
    """Return one field of a message: of variable length, or a number."""
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    raw = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits an octet
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])


def encode_list(allotments: Sequence[FakeAllotment]) -> bytes:
    """Return a ``ListPodResourcesResponse``, with the processors, memory and topology that kubelets add."""
    return b"".join(encode_field(1, _pod(allotment)) for allotment in allotments)


def _pod(allotment: FakeAllotment) -> bytes:
    topology = encode_field(3, encode_field(1, encode_field(1, 0)))
    container = encode_field(1, allotment.container)
    for resource, identifiers in allotment.devices.items():
        ids = b"".join(encode_field(2, identifier) for identifier in identifiers)
        container += encode_field(2, encode_field(1, resource) + ids + topology)
    container += encode_field(3, bytes(range(16)))
    container += encode_field(4, encode_field(1, "memory") + encode_field(2, 1 << 33) + topology)
    for device in allotment.dynamic:
        claim = encode_field(1, encode_field(1, device.cdi_name)) if device.cdi_name else b""
        claim += encode_field(2, device.driver) + encode_field(3, "node-1") + encode_field(4, device.device)
        named = encode_field(2, "claim") + encode_field(3, allotment.namespace)
        container += encode_field(5, named + encode_field(4, claim))
    return encode_field(1, allotment.pod) + encode_field(2, allotment.namespace) + encode_field(3, container)


class FakePodResources:
    """Serves ``v1.PodResourcesLister/List`` at ``path``; ``start`` and ``stop`` as a kubelet restarts, or ``with``.

    Attributes:
        allotments: what is served; changes show at once.
        body: served instead of it, or None.
        status: the gRPC status.
        fault: how calls go wrong.
        frame_bytes: the longest DATA frame.
        calls: how many were made.
        errors: what clients did wrong.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.allotments: Sequence[FakeAllotment] = ()
        self.body: bytes | None = None
        self.status = 0
        self.fault: Fault = ""
        self.frame_bytes = 16_384
        self.calls = 0
        self.errors: list[str] = []
        self._listener: socket.socket | None = None
        self._clients: set[socket.socket] = set()

    def start(self) -> None:
        """Make the socket and serve in threads."""
        self.path.unlink(missing_ok=True)
        listener = self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.path))
        listener.listen()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self, *, leave_socket: bool = False) -> None:
        """Hang up on everybody; with ``leave_socket`` the file stays, as after a crash."""
        listener, self._listener = self._listener, None
        for end in (listener, *self._clients):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        if not leave_socket:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._clients.add(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        answer = _Answer(self, connection, client)
        with contextlib.suppress(OSError), client:
            if self.fault == "bad_frame":
                client.sendall(b"\0\0\1\0\0\0\0\0\0x")  # DATA of no stream
                while client.recv(65_536):
                    pass  # a socket that is closed with bytes unread takes back what it sent
                return
            client.sendall(connection.data_to_send())
            while data := client.recv(65_536):
                try:
                    for event in connection.receive_data(data):
                        answer.take(event)
                except H2Error as exc:
                    self.errors.append(repr(exc))
                    return
                if answer.is_hung_up:
                    return
                answer.go_on()
        self._clients.discard(client)


class _Answer:
    """One connection's call."""

    def __init__(self, server: FakePodResources, connection: H2Connection, client: socket.socket) -> None:
        self.is_hung_up = False
        self._server, self._connection, self._client = server, connection, client
        self._stream_id = 0
        self._rest = memoryview(b"")
        self._request = b""
        self._is_answering = False

    def take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            headers = {str(name): str(value) for name, value in event.headers or ()}
            if headers.get("content-type") != "application/grpc" or headers.get("te") != "trailers":
                self._server.errors.append(f"headers {headers}")
            if headers.get(":path") != "/v1.PodResourcesLister/List":
                self._server.errors.append(f"path {headers.get(':path')}")
        elif isinstance(event, DataReceived):
            self._request += event.data or b""
        elif isinstance(event, StreamEnded) and event.stream_id is not None:
            self._server.calls += 1
            self._stream_id = event.stream_id
            if self._request != bytes(5):
                self._server.errors.append(f"request {self._request!r}")
            self._begin()

    def _begin(self) -> None:
        server, connection, stream_id = self._server, self._connection, self._stream_id
        head = [(":status", "404" if server.fault == "not_found" else "200"), ("content-type", "application/grpc")]
        if server.fault == "hang":
            return
        if server.fault == "hangup":
            self.is_hung_up = True
        elif server.fault == "goaway":
            connection.close_connection()
        elif server.fault == "reset":
            connection.reset_stream(stream_id, error_code=7)
        elif server.fault == "not_found":
            connection.send_headers(stream_id, head, end_stream=True)
        elif server.status:
            trailers = [("grpc-status", str(server.status)), ("grpc-message", "rate limit reached%21")]
            connection.send_headers(stream_id, [*head, *trailers], end_stream=True)
        else:
            connection.send_headers(stream_id, head)
            body = encode_list(server.allotments) if server.body is None else server.body
            flag = b"\1" if server.fault == "compressed" else b"\0"
            self._rest = memoryview(flag + len(body).to_bytes(4, "big") + body)
            self._is_answering = True

    def go_on(self) -> None:
        """Send as much as the client's windows have room for."""
        connection, stream_id = self._connection, self._stream_id
        while self._is_answering and self._rest:
            room = min(connection.local_flow_control_window(stream_id), connection.max_outbound_frame_size)
            size = min(room, self._server.frame_bytes)
            if size <= 0:
                break
            connection.send_data(stream_id, bytes(self._rest[:size]))
            self._rest = self._rest[size:]
        if self._is_answering and not self._rest:
            self._is_answering = False
            if self._server.fault == "no_trailers":
                connection.end_stream(stream_id)
            else:
                connection.send_headers(stream_id, [("grpc-status", "0"), ("grpc-message", "")], end_stream=True)
        self._client.sendall(connection.data_to_send())
