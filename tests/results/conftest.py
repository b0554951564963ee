from tests.stores import place, s3

__all__ = ["place", "s3"]
