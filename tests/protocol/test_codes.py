"""Codes are public: clients are written against them."""

from __future__ import annotations

from gamebus.protocol.codes import CloseCode, ErrorCode


class TestErrorCode:
    def test_are_those_of_the_wire_protocol(self) -> None:
        """Codes: bad_request, unknown_type, bad_data, not_joined, forbidden, bad_token, rate_limited, too_large, ..."""
        expected = (
            "bad_request unknown_type bad_data not_joined forbidden bad_token rate_limited too_large overloaded "
            "unavailable unknown_outcome"
        )

        assert [str(code) for code in ErrorCode] == expected.split()

    def test_every_code_has_a_meaning(self) -> None:
        """A developer who meets a code finds it explained."""
        assert all(code.meaning for code in ErrorCode)


class TestCloseCode:
    def test_are_those_of_the_wire_protocol(self) -> None:
        """The table of close codes is complete, and nothing stands beside it."""
        assert [int(code) for code in CloseCode] == [
            *(4000, 4001, 4002, 4003, 4004, 4010),
            *(4500, 4501, 4502, 4503, 4504),
        ]

    def test_the_range_says_whether_to_reconnect(self) -> None:
        """4000-4499: reconnect (with back-off, and the resume cursors). 4500-4999: do not reconnect."""
        assert [code for code in CloseCode if code.reconnect] == [code for code in CloseCode if 4000 <= code <= 4499]

    def test_reconnect_ms_is_null_where_the_client_must_not_come_back(self) -> None:
        """`reconnect_ms` null where the client must not come back."""
        assert all((code.reconnect_ms is not None) is code.reconnect for code in CloseCode)
