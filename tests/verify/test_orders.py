"""Orders to watched processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from gamebus.verify.orders import Orders, Step, give, read_orders


class TestOrders:
    @pytest.mark.parametrize(
        "orders",
        [Orders(), Orders(block_s=3.0), Orders(slow_s=1.5, clock_s=-3600.0), Orders(die_at=Step.DURING_COMMIT)],
    )
    def test_arrive_as_they_were_given(self, tmp_path: Path, orders: Orders) -> None:
        """The process is told by SIGUSR1, and finds whole orders then."""
        path = tmp_path / "orders.json"
        found: list[Orders] = []
        before = signal.signal(signal.SIGUSR1, lambda *_: found.append(read_orders(path)))
        try:
            give(orders, path, os.getpid())
        finally:
            signal.signal(signal.SIGUSR1, before)

        assert found == [orders]
