"""The function that takes requests, and the HTTP API of jobs."""
