"""The live screen of ``pyami-sync top``: its listings, the handling of keys, and the drawing."""
