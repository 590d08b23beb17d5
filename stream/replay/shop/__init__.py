"""The synthetic shop: what it sells, how that looks and reads, and who buys it."""
