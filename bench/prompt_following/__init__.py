"""Whether a clip shows what its prompt says: a judge in plain numpy, and what it says of a model's clips."""
