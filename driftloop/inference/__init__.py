"""The path from an image to a logged prediction, the same in replay, service and reference: no torch here."""
