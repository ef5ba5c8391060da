"""The laws that every target keeps, as a test suite for your own targets."""

from stores.testing.laws import TargetLaws

__all__ = ["TargetLaws"]
