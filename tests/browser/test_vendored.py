"""The page of the arena has no build step, so it carries a copy of the built JavaScript client."""

from __future__ import annotations

import subprocess
from pathlib import Path

from gamebus_arena.web import STATIC

CLIENT = Path(__file__).parents[2] / "clients" / "javascript"


class TestVendoredClient:
    def test_is_what_the_build_makes_now(self) -> None:
        """The copy is the client of this commit, byte for byte, with the licences of all that is in it."""
        subprocess.run(["node", "build.mjs"], cwd=CLIENT, check=True, timeout=60)

        vendored = STATIC / "vendor"
        assert (vendored / "gamebus.iife.js").read_bytes() == (CLIENT / "dist" / "gamebus.iife.js").read_bytes(), (
            "make vendor"
        )
        assert (vendored / "LICENSE").read_bytes() == (CLIENT / "LICENSE").read_bytes()
        msgpack = CLIENT / "node_modules" / "@msgpack" / "msgpack" / "LICENSE"
        assert (vendored / "LICENSE.msgpack").read_bytes() == msgpack.read_bytes()
