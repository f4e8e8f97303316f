"""The live screen of ``pyami-sync top``: what it lists, how keys move it, and how it is drawn."""
