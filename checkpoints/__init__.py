"""The store of trained networks: cards, weights, and where they come from."""

from .card import Card, Measured, parse_card, read_card, write_card

__all__ = ["Card", "Measured", "parse_card", "read_card", "write_card"]
