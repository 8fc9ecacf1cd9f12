"""`python -m gamebus`."""

from gamebus.cli import main

main()
