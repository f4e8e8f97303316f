"""One TCP connection: its transport, its requests, its write queue, and who reads it."""
