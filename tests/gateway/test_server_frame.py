"""Complete server frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol, State

from gamebus.gateway.server_frame import server_frame
from gamebus.protocol.frames import Encoding, decode


class TestServerFrame:
    """`server_frame`."""

    @pytest.mark.parametrize("encoding", list(Encoding))
    @given(size=st.one_of(st.integers(0, 300), st.integers(65_400, 65_700)))
    def test_an_independent_client_reads_the_message(self, encoding: Encoding, size: int) -> None:
        """Frames of every length form (7, 16 and 64 bits) are what RFC 6455 says, as websockets' own parser reads them."""
        message = ["pong", "x" * size, 1]
        client = Protocol(CLIENT, state=State.OPEN)

        client.receive_data(server_frame(message, encoding))

        (frame,) = client.events_received()
        assert isinstance(frame, Frame)
        assert frame.fin
        assert frame.opcode is (Opcode.TEXT if encoding is Encoding.JSON else Opcode.BINARY)
        payload = bytes(frame.data)
        assert decode(payload.decode() if encoding is Encoding.JSON else payload, encoding) == message
