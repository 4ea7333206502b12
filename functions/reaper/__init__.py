"""The function that mends what was lost: called every minute, and with every dead letter."""
