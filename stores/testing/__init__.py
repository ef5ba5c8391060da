"""The laws that every target keeps, as a suite for the tests of one of your own."""

from stores.testing.laws import TargetLaws

__all__ = ["TargetLaws"]
