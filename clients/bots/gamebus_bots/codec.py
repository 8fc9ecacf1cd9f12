"""Decoding a frame once for all bots of a room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self

from gamebus_client.codec import CODECS, Codec, Frame, Received
from gamebus_client.messages import Event, Tick

# A few frames of each room are on their way at once.
_FRAMES: Final = 256


@dataclass(frozen=True, slots=True)
class SharedCodec(Codec):
    """A codec that remembers the last broadcasts.

    All players of a room get the same bytes for a tick or an event. Real clients each decode them on a machine of their own;
    hundreds of bots on one core would spend most of it on decoding the same frame again. The messages are shared, so nobody
    may change their data.
    """

    _decoded: dict[Frame, Received] = field(default_factory=dict)

    @classmethod
    def msgpack(cls) -> Self:
        """For the binary subprotocol."""
        codec = CODECS["msgpack"]
        return cls(codec.subprotocol, codec.pack, codec.unpack)

    def decode(self, frame: Frame) -> Received | None:
        """Decode one message, or find it decoded."""
        known = self._decoded.get(frame)
        if known is not None:
            return known
        message = Codec.decode(self, frame)
        if isinstance(message, (Tick, Event)):
            if len(self._decoded) >= _FRAMES:
                del self._decoded[next(iter(self._decoded))]
            self._decoded[frame] = message
        return message
