"""One TCP connection: its transport, its requests, its write queue, and its reader."""
