"""The configuration: where its files lie, and how it is composed."""
