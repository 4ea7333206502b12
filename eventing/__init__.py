"""CloudEvents: the event types and their data, the codec, the publisher, and what publishes deliveries.

Knows no Redis, no web framework and no torch. Importing one module costs no more than that module needs.
"""
