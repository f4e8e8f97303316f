"""Threads and time: the engine thread, timers, callback threads, futures, waiting. Nothing here is specific to AMI."""
