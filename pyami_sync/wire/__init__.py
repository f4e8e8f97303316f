"""Bytes in, messages out: framing, messages, actions, responses, redaction. No threads, no sockets, no clock."""
