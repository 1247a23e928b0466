"""What turns an experiment into objects and runs them; called by the tools and by the command."""
