"""Threads and time: the engine thread, timers, callback threads, futures, waiting. It knows nothing of AMI."""
