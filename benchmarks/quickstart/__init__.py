"""The quickstart on other data."""
