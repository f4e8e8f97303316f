"""Tests of pyami_sync.testing."""
