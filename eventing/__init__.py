"""CloudEvents: the event types and their data, the codec, the publisher. Knows no Redis and no torch."""
