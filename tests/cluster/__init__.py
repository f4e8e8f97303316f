"""Many small servers at once, for the tests of clusters."""
