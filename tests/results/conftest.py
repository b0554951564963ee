from tests.stores import place, root, s3

__all__ = ["place", "root", "s3"]
