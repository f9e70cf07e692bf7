"""Helpers of the multifidus study."""
