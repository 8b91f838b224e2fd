"""The version, apart from the package root so that the lowest rooms may import it."""

__version__ = "0.1.0"
