"""The function that takes the events of jobs that have ended."""
