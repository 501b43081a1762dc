"""NATS as the hub uses it: connections that tell when they break, and JetStream; broker and presence stand on it."""
