"""Alerts: rules over what watches measured, their state in the store, and the receivers that are told."""
