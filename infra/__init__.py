"""What operators run: local services, compose file, demo."""
