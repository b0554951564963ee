from tests.stores import root

__all__ = ["root"]
