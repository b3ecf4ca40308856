"""What Azure would refuse."""
