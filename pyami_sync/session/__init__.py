"""What survives connections: options, connecting, login, reconnect, keepalive, sending actions."""
