"""deltalens inside the field's evaluation and serving tools; one folder or file a tool."""
