"""Version of the package, read by the build and written into pickles."""

__version__ = "0.1.0"
