"""The commands of ``pyami-sync``, a module for each group; none is imported before it is run."""
