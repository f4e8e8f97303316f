"""Which subscribers want an event, and how they get it: selectors, dispatch, bounded buffers, gaps."""
