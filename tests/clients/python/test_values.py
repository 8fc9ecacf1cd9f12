"""What a client refuses to send."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from gamebus_client.values import check_value


class Weapon(StrEnum):
    AXE = "axe"


class TestCheckValue:
    @pytest.mark.parametrize(
        "value",
        [None, True, 0, 2**53, -(2**53), 0.5, "Grüße 👋", [[]], (1, 2), {"a": {"b": []}}, Weapon.AXE],
        ids=repr,
    )
    def test_carried(self, value: Any) -> None:
        """What both encodings carry is taken, subclasses of it too."""
        check_value(["pub", "gift", "arena", value, "g-1"])

    @pytest.mark.parametrize(
        "value",
        [
            2**53 + 1,
            float("nan"),
            float("-inf"),
            "\udc00",
            {"\ud800": 1},
            {1: 1},
            b"x",
            {1, 2},
            pytest.param(object(), id="object"),
            [[1j]],
        ],
        ids=repr,
    )
    def test_not_carried(self, value: Any) -> None:
        """What one of the encodings would change, or the gateway refuse, is refused here."""
        with pytest.raises((TypeError, ValueError)):
            check_value(["pub", "gift", "arena", value, "g-1"])

    def test_too_deep(self) -> None:
        """A value that holds itself ends as an error too."""
        value: list[Any] = []
        value.append(value)
        with pytest.raises(ValueError, match="deeper than 32"):
            check_value(value)
