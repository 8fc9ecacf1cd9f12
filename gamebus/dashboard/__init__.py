"""What operators see in a browser: the live state of the game and the health of the bus, read from Redis only."""
