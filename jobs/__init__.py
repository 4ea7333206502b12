"""The domain: a request, its job, the legal transitions, and where jobs and videos are kept.

Knows Redis and S3. Knows no web framework, no CloudEvents and no torch.
"""
