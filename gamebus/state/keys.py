"""Names of all Redis keys. docs/redis.md describes each one.

Every key begins with the prefix of the game and carries one hash tag (`{...}`), so that all keys of a room live in one slot of
a Redis Cluster and a script over them is atomic there too. Room and player names cannot hold braces
(:func:`gamebus.events.is_room`), so a name never breaks out of its tag.
"""

from __future__ import annotations

from gamebus.errors import ConfigurationError


class Keys:
    """Key names under one prefix.

    Raises:
        ConfigurationError: the prefix holds a brace, which would become the hash tag of every key.
    """

    def __init__(self, prefix: str) -> None:
        if "{" in prefix or "}" in prefix:
            raise ConfigurationError(
                f"GAMEBUS_REDIS__KEY_PREFIX {prefix!r} holds a brace; Redis Cluster would take it for the hash tag"
            )
        self.prefix = prefix

    def room(self, room: str, kind: str) -> str:
        """Key of one kind of state of a room."""
        return f"{self.prefix}room:{{{room}}}:{kind}"

    def player(self, player: str, kind: str) -> str:
        """Key of one kind of state of a player."""
        return f"{self.prefix}player:{{{player}}}:{kind}"

    def shared(self, kind: str, name: str) -> str:
        """Key that belongs to neither a room nor a player, spread over the slots by its name."""
        return f"{self.prefix}{kind}:{{{name}}}"
