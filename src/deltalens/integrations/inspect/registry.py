"""What Inspect AI finds through its entry point."""
