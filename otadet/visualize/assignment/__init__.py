"""Pictures of an assignment."""
