"""Names and tokens of pages."""

from __future__ import annotations

import jwt
import pytest

from gamebus import events
from gamebus_arena.tokens import TOKEN_LIFE_S, Names, clean_name, mint

SECRET = "s" * 32


class TestNames:
    @pytest.mark.parametrize(
        ("wanted", "name"),
        [
            ("Ada", "Ada"),
            ("  Ada Lovelace ", "Ada-Lovelace"),
            ("Zoë", "Zoe"),
            ("", "player"),
            ("!?", "player"),
            ("Vega.bot", "Vega-bot"),
            ("a" * 100, "a" * 16),
            ("中文", "player"),
        ],
    )
    def test_what_people_type_becomes_a_player_id(self, wanted: str, name: str) -> None:
        """Any text gives a valid player id, and none that an opponent or the game server could have."""
        assert clean_name(wanted) == name
        assert events.is_player_id(name)

    def test_two_pages_never_share_a_name(self) -> None:
        """The same wish gives another name while the first may still be played with; afterwards it is free again."""
        names = Names(SECRET)
        assert [names.claim("Ada", None, now_s=0) for _ in range(3)] == ["Ada", "Ada-2", "Ada-3"]
        assert names.claim("Ada", None, now_s=TOKEN_LIFE_S + 1) == "Ada"

    def test_a_page_that_comes_back_with_its_key_keeps_its_name(self) -> None:
        """The key is good after a restart of the process, and nobody else's is."""
        key = Names(SECRET).key("Ada")
        names = Names(SECRET)
        names.claim("Ada", None, now_s=0)

        assert names.claim("Ada", key, now_s=1) == "Ada"
        assert names.claim("Ada", names.key("Bob"), now_s=1) == "Ada-2"

    def test_a_token_is_for_one_room(self) -> None:
        """A page's token lets it into the arena and nowhere else, and ends."""
        claims = jwt.decode(
            mint(SECRET, "Ada", "player", "arena", now_s=0),
            SECRET,
            ["HS256"],
            options={"verify_exp": False},
            audience="gamebus",
        )
        assert claims == {"sub": "Ada", "role": "player", "aud": "gamebus", "rooms": ["arena"], "exp": TOKEN_LIFE_S}
