"""The version, in its own module so that the lowest layers can import it."""

__version__ = "0.1.0"
