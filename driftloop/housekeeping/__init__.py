"""Keeping a store in order: is the watch late, what takes up space, what is no longer needed."""
