"""Processors: from Kafka to the live state in Redis, with the commit order of each delivery class."""
