"""The broker of one machine: what Knative's Broker, Triggers and PingSource do, durable on Redis Streams.

Knows Redis and HTTP. Knows no job: an event is its attributes and its bytes.
"""
