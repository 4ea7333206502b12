"""The KServe model server: the model, the adapter over its pipeline, encoding, and the work on a job.

Knows torch, diffusers and KServe. Knows no Redis keys and no S3 calls: it asks `jobs/`.
"""
