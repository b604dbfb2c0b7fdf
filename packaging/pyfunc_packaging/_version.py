"""The version of the distribution, and of both import packages."""

__version__ = "0.1.0"
