"""The files of the demo's page."""
