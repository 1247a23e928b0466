"""Pictures of shapes, drawn on demand, to learn and to test on."""
