"""What a network is worth, measured."""
