"""The session, which survives connections: options, connecting, login, reconnect, keepalive, sending actions."""
