"""The documentation site: every example is executed."""
