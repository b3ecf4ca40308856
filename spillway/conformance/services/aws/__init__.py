"""What AWS would refuse."""
