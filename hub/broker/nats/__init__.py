"""The broker on NATS: history in a JetStream stream, delivery by what the stream sends on after storing."""
