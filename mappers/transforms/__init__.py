"""Transforms: the changes of a document that a plan asks for before it is mapped."""
