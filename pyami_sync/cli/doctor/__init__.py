"""The checks of ``pyami-sync doctor``, from name resolution to the clock; each has a result and a remedy."""
