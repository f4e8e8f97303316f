"""Subscriptions to events: selectors, dispatch, bounded buffers, and the gaps of subscribers that are too slow."""
