"""Where videos are kept: any S3 server. Synchronous, as boto3 is; asyncio code calls it in a thread.

Importing this is cheap: boto3 is loaded by the first `S3VideoStorage`.
"""

from __future__ import annotations

from jobs.memory_storage import MemoryVideoStorage
from jobs.s3_storage import S3VideoStorage
from jobs.video_storage import StoredObject, VideoStorage

__all__ = ["MemoryVideoStorage", "S3VideoStorage", "StoredObject", "VideoStorage"]
