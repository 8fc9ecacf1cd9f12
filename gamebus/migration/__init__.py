"""Migration of an event type to the other delivery class while everything runs."""
