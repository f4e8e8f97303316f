"""Real application servers with the client in them, against the simulator."""
