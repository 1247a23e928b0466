"""Time, memory and launches, measured side by side."""
