"""HTTP to other servers: what the hub and its plugins ask of URLs that somebody else may have chosen."""
