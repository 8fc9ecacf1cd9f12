"""The arena: a small top-down browser game on gamebus.

The page (`static/`, on the JavaScript client) moves, shoots and shows; the game server (:mod:`gamebus_arena.server`, on the Python
client) is the authority on hits, health, rounds and spawns. Both know the wire protocol only.
"""
