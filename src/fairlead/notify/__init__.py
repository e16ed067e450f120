"""Telling people: Apprise."""
