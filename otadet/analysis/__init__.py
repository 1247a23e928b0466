"""What a rule assigns, seen and counted over images."""
