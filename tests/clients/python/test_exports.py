"""The public names of the package."""

from __future__ import annotations

import gamebus_client


class TestExports:
    def test_all_is_sorted_and_complete(self) -> None:
        """The public names are those of `__all__`, each importable, none forgotten."""
        exported = gamebus_client.__all__
        assert exported == sorted(exported)
        public = {name for name, value in vars(gamebus_client).items() if name[0].isupper()}
        assert public == set(exported)
