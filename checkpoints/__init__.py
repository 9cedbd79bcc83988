"""Trained networks: cards, weights, and the store."""
