"""Keeping a store in order: is the watch late, what takes the room, what does nothing need any more."""
