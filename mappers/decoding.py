"""The former place of mappers.documents.decoding, which mappers of your own may still import from."""

from mappers.documents.decoding import decode

__all__ = ["decode"]
