"""gamebus: the event bus behind a real-time multiplayer game. Begin with docs/ARCHITECTURE.md."""
